//! What files may hold: their length, their first line, and nothing of any one machine.

use super::Violation;
use super::tree::{File, Tree};

/// Lines beyond which a file is several.
const LINES_MAX: usize = 800;
/// A mark near the top of a file that a program wrote.
const GENERATED: &str = "@generated";
const GENERATED_WITHIN_LINES: usize = 5;
/// Endings of source files.
const SOURCES: &[&str] = &["rs", "sh", "ts", "svelte", "js"];
/// Files that their own tools write, hosts and all.
const LOCK_FILES: &[&str] = &["Cargo.lock", "package-lock.json", "pnpm-lock.yaml"];

/// Hosts of package registries, in pieces so that this file names none.
const REGISTRY_HOSTS: &[(&str, &str)] = &[
    ("crates", "io"),
    ("deb.debian", "org"),
    ("security.debian", "org"),
    ("pypi", "org"),
    ("registry.npmjs", "org"),
    ("registry-1.docker", "io"),
    ("ghcr", "io"),
    ("quay", "io"),
    ("proxy.golang", "org"),
    ("static.rust-lang", "org"),
];
/// Folders below which people's homes are.
const HOMES: &[&str] = &["/home/", "/Users/", "/root/"];

/// Finds files that are too long, undocumented, or tied to one machine.
pub fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations: Vec<Violation> = tree.files.iter().filter_map(too_long).collect();
    violations.extend(undocumented(tree));
    let root = tree.root.to_string_lossy();
    for file in &tree.files {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        if LOCK_FILES.contains(&&*name) {
            continue;
        }
        for (index, line) in file.text.lines().enumerate() {
            if let Some((rule, what)) = tied_to_a_machine(line, &root) {
                violations.push(Violation::new(format!("{}:{}", file.path.display(), index + 1), rule, what));
            }
        }
    }
    violations
}

fn too_long(file: &File) -> Option<Violation> {
    let extension = file.path.extension()?.to_str()?;
    let generated = file.text.lines().take(GENERATED_WITHIN_LINES).any(|line| line.contains(GENERATED));
    let lines = file.text.lines().count();
    let long = SOURCES.contains(&extension) && !generated && lines > LINES_MAX;
    long.then(|| {
        Violation::new(
            file.path.display(),
            "length",
            format!("{lines} lines; {LINES_MAX} are enough for one file"),
        )
    })
}

fn undocumented(tree: &Tree) -> Vec<Violation> {
    let roots = tree.packages.iter().flat_map(|package| &package.roots);
    let source = roots.filter(|path| path.ends_with("src/lib.rs") || path.ends_with("src/main.rs"));
    let files = source.filter_map(|path| tree.files.iter().find(|file| file.path == *path));
    let bare = files.filter(|file| !file.text.starts_with("//!"));
    bare.map(|file| {
        Violation::new(file.path.display(), "documentation", "starts with no //! that says what this is for")
    })
    .collect()
}

fn tied_to_a_machine(line: &str, root: &str) -> Option<(&'static str, String)> {
    for (name, domain) in REGISTRY_HOSTS {
        let host = format!("{name}.{domain}");
        if line.contains(&host) {
            return Some(("registry", format!("names the registry {host}; the host's own settings decide")));
        }
    }
    if root.len() > 1 && line.contains(root) {
        return Some(("path", "names this work tree's place on this machine".to_owned()));
    }
    let home = HOMES.iter().find(|home| line.match_indices(*home).any(|(at, _)| is_home(line, at, home)))?;
    Some(("path", format!("names a path below {home}")))
}

/// Whether what stands at `at` is the start of a path that goes on, rather than the middle of another one.
fn is_home(line: &str, at: usize, home: &str) -> bool {
    let inside_path =
        line[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || "_-./})$*~".contains(c));
    let goes_on = line[at + home.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '.' || c == '_');
    !inside_path && goes_on
}
