//! The workspace's lints are in force everywhere, and `unsafe` is where it may be.

use super::Violation;
use super::tree::{Tier, Tree};

/// Crates in which `unsafe` is allowed by name.
const UNSAFE_CRATES: &[&str] = &["host_sys", "guest_memory", "kvm_engine", "soft_engine"];

/// Lints that the workspace has to deny: table, name.
const DENIED: &[(&str, &str)] =
    &[("rust", "unsafe_code"), ("rust", "unsafe_op_in_unsafe_fn"), ("clippy", "undocumented_unsafe_blocks")];

/// Finds lints that are not in force, and `unsafe` where it may not be.
pub fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = workspace_lints(tree);
    for package in &tree.packages {
        let manifest = package.manifest.parse::<toml::Table>().unwrap_or_default();
        let inherits =
            manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool);
        if inherits != Some(true) {
            let place = package.folder.join("Cargo.toml");
            violations.push(Violation::new(place.display(), "lints", "add [lints] workspace = true"));
        }
    }
    violations.extend(unsafe_places(tree));
    violations
}

fn workspace_lints(tree: &Tree) -> Vec<Violation> {
    let text = tree.file("Cargo.toml").map(|file| file.text.as_str()).unwrap_or_default();
    let manifest = text.parse::<toml::Table>().unwrap_or_default();
    let lints = manifest.get("workspace").and_then(|workspace| workspace.get("lints"));
    let level = |table: &str, name: &str| {
        let lint = lints?.get(table)?.get(name)?;
        lint.as_str().or_else(|| lint.get("level")?.as_str()).map(str::to_owned)
    };
    let missing = DENIED
        .iter()
        .filter(|(table, name)| !matches!(level(table, name).as_deref(), Some("deny" | "forbid")));
    missing
        .map(|(table, name)| {
            Violation::new("Cargo.toml", "lints", format!("{table}.{name} has to be denied"))
        })
        .collect()
}

fn unsafe_places(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in tree.files.iter().filter(|file| file.is_rust()) {
        // What is outside the workspace (fuzz) and what only tests and benches use may do what it needs.
        let Some(package) = tree.package_of(&file.path) else { continue };
        let outside = package.tier == Some(Tier::Outside);
        let testing = outside && ["tests", "bench"].iter().any(|folder| package.folder.starts_with(folder));
        if testing || UNSAFE_CRATES.contains(&&*package.name) {
            continue;
        }
        for (index, line) in file.text.lines().enumerate() {
            if switches_off(line) {
                let place = format!("{}:{}", file.path.display(), index + 1);
                let what = format!(
                    "{} may not allow unsafe code; only {} may",
                    package.name,
                    UNSAFE_CRATES.join(", ")
                );
                violations.push(Violation::new(place, "unsafe", what));
            }
        }
    }
    violations
}

/// Whether a line is an attribute that lets unsafe code through.
fn switches_off(line: &str) -> bool {
    let line = line.trim_start();
    let attribute = line.starts_with("#[") || line.starts_with("#![");
    attribute
        && line.contains("unsafe_code")
        && ["allow(", "expect(", "warn("].iter().any(|level| line.contains(level))
}
