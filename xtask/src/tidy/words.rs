//! What a person is told is said in words, and names of files are taken apart in one place.

use super::Violation;
use super::tree::{File, Tier, Tree};

/// Files that put a value's insides into text which is no message, and what it is.
const NO_MESSAGES: &[&str] = &[
    // What a recipe's digest is taken of.
    "crates/cloud/image_build/src/recipe.rs",
    // What a developer of the engine reads when two of its tiers disagree.
    "crates/engine/soft_engine/src/lockstep.rs",
];
/// Macros whose text is for whoever works on the program.
const FOR_DEVELOPERS: &[&str] =
    &["debug!(", "trace!(", "panic!(", "assert", "unreachable!(", "debug_struct("];
/// Where paths are taken apart.
const PATHS: &str = "host_sys";

/// Finds `{:?}` and `{error:#}` in messages, and `Path::parent`, which is empty for a bare name.
pub fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in tree.files.iter().filter(|file| file.is_rust()) {
        let Some(package) = tree.package_of(&file.path) else { continue };
        if package.tier == Some(Tier::Outside) {
            continue;
        }
        for (number, line) in shipped_lines(file) {
            let place = format!("{}:{number}", file.path.display());
            if package.name != PATHS && line.contains(".parent()") {
                let what = "Path::parent of a bare name is empty; use host_sys::named_file::folder_of";
                violations.push(Violation::new(&place, "path", what));
            }
            if shows_insides(line) && !NO_MESSAGES.iter().any(|known| file.path.ends_with(known)) {
                let what = "a value's insides are no words; write what a person can use (messages::in_words)";
                violations.push(Violation::new(place, "message", what));
            }
        }
    }
    violations
}

/// The lines that are no tests, with their numbers.
pub fn shipped_lines(file: &File) -> impl Iterator<Item = (usize, &str)> {
    let is_test = file.path.iter().any(|part| part == "tests" || part == "tests.rs");
    let lines = file.text.lines().take_while(move |line| !is_test && line.trim() != "#[cfg(test)]");
    lines
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn shows_insides(line: &str) -> bool {
    let insides = [":?}", ":#?}", "error:#}"].iter().any(|form| line.contains(form));
    insides && !FOR_DEVELOPERS.iter().any(|start| line.contains(start))
}
