//! Answers on stdout.

use std::io::{self, ErrorKind, Write};

use anyhow::Context;

/// Writes an answer and ends its line.
pub fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.context("the answer cannot be written to stdout"),
    }
}
