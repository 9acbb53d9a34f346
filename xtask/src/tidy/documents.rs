//! ARCHITECTURE.md's table of behaviours names files that exist.

use super::Violation;
use super::tree::Tree;

const DOCUMENT: &str = "ARCHITECTURE.md";
/// The first column's title in the table's head.
const BEHAVIOUR: &str = "behaviour";
/// The second column's.
const FILE: &str = "file";

/// Finds paths in the table that are not in the tree, and a table that is not there.
pub fn check(tree: &Tree) -> Vec<Violation> {
    let Some(document) = tree.file(DOCUMENT) else {
        return vec![Violation::new(DOCUMENT, "architecture", "there is no such file")];
    };
    let rows = table(&document.text);
    if rows.is_empty() {
        return vec![Violation::new(
            DOCUMENT,
            "architecture",
            "holds no table with the columns behaviour and file",
        )];
    }
    let mut violations = Vec::new();
    for (line, row) in rows {
        let paths: Vec<&str> = quoted(row).collect();
        let place = format!("{DOCUMENT}:{line}");
        if paths.is_empty() {
            violations.push(Violation::new(&place, "architecture", "this row names no file in backticks"));
        }
        for path in paths.iter().filter(|path| !tree.root.join(path).exists()) {
            violations.push(Violation::new(&place, "architecture", format!("{path} does not exist")));
        }
    }
    violations
}

/// The file columns of the table's rows, with their line numbers.
fn table(text: &str) -> Vec<(usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let mut inside = false;
    let mut rows = Vec::new();
    for (number, line) in lines {
        let Some((first, rest)) = line.trim().strip_prefix('|').and_then(|row| row.split_once('|')) else {
            inside = false;
            continue;
        };
        if first.trim().eq_ignore_ascii_case(BEHAVIOUR) {
            inside = rest.to_lowercase().contains(FILE);
        } else if inside && !first.trim().starts_with('-') && !first.trim().starts_with(":-") {
            rows.push((number, rest));
        }
    }
    rows
}

/// What stands between backticks.
fn quoted(row: &str) -> impl Iterator<Item = &str> {
    row.split('`').skip(1).step_by(2)
}
