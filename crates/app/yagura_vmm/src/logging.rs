//! Logs on stderr.

use std::io::IsTerminal;

use anyhow::Context;
pub use tracing_subscriber::filter::LevelFilter;

/// Starts logging from `level` on. Called once.
///
/// # Errors
/// It was called before.
pub fn start(level: LevelFilter) -> anyhow::Result<()> {
    if level == LevelFilter::OFF {
        return Ok(());
    }
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init()
        .map_err(|error| anyhow::anyhow!("logging cannot be started: {error}"))
        .context("this is a mistake in yagura")
}
