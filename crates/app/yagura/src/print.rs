//! Answers on stdout, and the form of their tables.

use std::io::{self, ErrorKind, Write};

use anyhow::Context;
use comfy_table::{ContentArrangement, Table, presets};

/// Writes an answer and ends its line.
pub fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.context("the answer cannot be written to stdout"),
    }
}

/// A table without rows, as all of them look.
pub fn empty_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table
}
