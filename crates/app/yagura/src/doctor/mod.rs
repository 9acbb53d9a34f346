//! `yagura doctor`: what this host offers for virtual machines, what is missing, and what to do about it.
//!
//! ```text
//! host ── gather ──► HostFacts ─┬─ rows ──► Row… ── report ─► table
//!                               └──────────────────────────► JSON
//! ```
//!
//! Only [`gather`] touches the host; the rest are pure functions of [`HostFacts`], which tests make up.

mod facts;
mod gather;
mod kvm_rows;
mod report;
mod rows;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind, Write};

use anyhow::Context;

use crate::cli::{DoctorArguments, Format};

/// Exit status where unmodified operating systems cannot run.
const CANNOT_RUN: u8 = 1;

/// Looks, and prints what it found.
pub fn run(arguments: &DoctorArguments) -> anyhow::Result<u8> {
    let facts = gather::gather(&arguments.kvm_device);
    let rows = rows::rows(&facts);
    let text = match arguments.format {
        Format::Table => report::table(&rows),
        Format::Json => report::json(&facts, &rows),
    };
    match writeln!(io::stdout().lock(), "{text}") {
        // Whoever reads has seen enough, as in `yagura doctor | head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        other => other.context("the findings cannot be written to stdout")?,
    }
    Ok(if facts.can_run() { 0 } else { CANNOT_RUN })
}
