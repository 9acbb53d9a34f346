//! `cargo xtask tidy`: the invariants that ARCHITECTURE states and that no compiler checks.
//!
//! Each file here is one theme: a function from the tree to the violations in it, or from what is built of it.

mod documents;
mod executable;
mod files;
mod formats;
mod lints;
mod names;
#[cfg(test)]
mod tests;
mod tiers;
mod tree;
mod words;

use anyhow::{Result, ensure};
use std::fmt::{self, Display};
use std::path::Path;
use tree::Tree;

/// Something in the tree that breaks an invariant.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// A path in the tree, with a line where there is one.
    place: String,
    /// The invariant, in a word or two.
    rule: &'static str,
    /// What is wrong and what would be right.
    what: String,
}

impl Violation {
    fn new(place: impl Display, rule: &'static str, what: impl Into<String>) -> Self {
        Self { place: place.to_string(), rule, what: what.into() }
    }
}

impl Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}: {}", self.place, self.rule, self.what)
    }
}

/// What to look at.
#[derive(clap::Args)]
pub struct Arguments {
    /// Build the executables as users get them, and look at what is linked into a VM's process.
    #[arg(long)]
    executable: bool,
}

/// Does what was asked for.
pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.executable { run_executable() } else { run_tree() }
}

/// Checks the work tree, prints what is wrong, and fails when something is.
pub fn run_tree() -> Result<()> {
    report(&check(crate::workspace::root())?)
}

/// Checks what is linked into a VM's process in the same way.
pub fn run_executable() -> Result<()> {
    report(&executable::check()?)
}

fn report(violations: &[Violation]) -> Result<()> {
    for violation in violations {
        println!("{violation}");
    }
    ensure!(violations.is_empty(), "tidy: {} violations", violations.len());
    println!("tidy: no violations");
    Ok(())
}

/// The violations in the tree at `root`.
pub fn check(root: &Path) -> Result<Vec<Violation>> {
    let tree = Tree::read(root)?;
    let checks = [
        tiers::check,
        lints::check,
        names::check,
        files::check,
        documents::check,
        words::check,
        formats::check,
    ];
    let mut violations: Vec<Violation> = checks.iter().flat_map(|check| check(&tree)).collect();
    violations.sort();
    Ok(violations)
}
