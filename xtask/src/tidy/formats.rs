//! Readers of what strangers write hold no unsafe code, and open nothing themselves.

use super::Violation;
use super::tree::{Tier, Tree};
use super::words::shipped_lines;

/// What keeps a crate's own lints from being switched off in it.
const FORBIDDEN: &str = "#![forbid(unsafe_code)]";
/// How files, sockets and programs are opened. What a reader needs is handed to it, open.
const OPENERS: &[&str] = &[
    "File::open",
    "File::create",
    "File::options",
    "OpenOptions",
    "fs::read",
    "fs::write",
    "TcpStream",
    "UnixStream",
    "UdpSocket",
    "Command::new",
];

/// Finds crates of the format tier that could hold unsafe code, and lines in them that open something.
pub fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for package in tree.packages.iter().filter(|package| package.tier == Some(Tier::Format)) {
        let root = package.folder.join("src/lib.rs");
        let text = tree.files.iter().find(|file| file.path == root).map_or("", |file| &file.text);
        if !text.lines().any(|line| line == FORBIDDEN) {
            violations.push(Violation::new(root.display(), "format", format!("add {FORBIDDEN}")));
        }
        let source = package.folder.join("src");
        for file in tree.files.iter().filter(|file| file.is_rust() && file.path.starts_with(&source)) {
            for (number, line) in shipped_lines(file) {
                if let Some(opener) = OPENERS.iter().find(|opener| line.contains(**opener)) {
                    let place = format!("{}:{number}", file.path.display());
                    let what = format!("{opener}: a reader of formats opens nothing; hand it what it reads");
                    violations.push(Violation::new(place, "format", what));
                }
            }
        }
    }
    violations
}
