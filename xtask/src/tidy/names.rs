//! Names that say what a thing is.

use super::Violation;
use super::tree::{Package, Tree};
use std::path::Path;

/// Names that say nothing.
const EMPTY_NAMES: &[&str] =
    &["util", "utils", "common", "base", "helper", "helpers", "manager", "managers", "misc"];
/// Ends of names that say nothing.
const EMPTY_ENDS: &[&str] = &["_util", "_utils", "_helper", "_helpers", "_manager"];

/// Finds crates and modules with empty names, and crates that are not called as their folder.
pub fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations: Vec<Violation> = tree.packages.iter().filter_map(folder_name).collect();
    for file in tree.files.iter().filter(|file| file.is_rust()) {
        for part in file.path.iter() {
            let part = Path::new(part);
            let name = part.file_stem().unwrap_or_default().to_string_lossy();
            if is_empty_name(&name) {
                violations.push(Violation::new(
                    file.path.display(),
                    "name",
                    format!("{name} does not say what this is"),
                ));
            }
        }
        for (index, line) in file.text.lines().enumerate() {
            let Some(name) = inline_module(line).filter(|name| is_empty_name(name)) else { continue };
            let place = format!("{}:{}", file.path.display(), index + 1);
            violations.push(Violation::new(place, "name", format!("{name} does not say what this is")));
        }
    }
    violations
}

fn folder_name(package: &Package) -> Option<Violation> {
    let folder = package.folder.file_name()?.to_string_lossy();
    let place = package.folder.join("Cargo.toml");
    if folder != package.name {
        return Some(Violation::new(
            place.display(),
            "name",
            format!("crate {} is in a folder named {folder}", package.name),
        ));
    }
    is_empty_name(&folder)
        .then(|| Violation::new(place.display(), "name", format!("{folder} does not say what this is")))
}

fn is_empty_name(name: &str) -> bool {
    EMPTY_NAMES.contains(&name) || EMPTY_ENDS.iter().any(|end| name.ends_with(end))
}

/// The name in a line that opens a module with its content.
fn inline_module(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let rest = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) ")).unwrap_or(line);
    let name = rest.strip_prefix("mod ")?.strip_suffix('{')?;
    Some(name.trim())
}
