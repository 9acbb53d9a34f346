//! `cargo xtask bench`: measurements beside peers. Each measurement is a submodule.

use anyhow::{Result, bail};
use clap::Subcommand;

/// Which measurement to take.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Spawn to first guest byte, CPU time and memory that is not guest RAM.
    Startup,
}

/// Takes the measurement.
pub fn run(arguments: &Arguments) -> Result<()> {
    match arguments.what {
        What::Startup => bail!("the startup measurement is not written yet"),
    }
}

/// Runs every measurement once, to see that it runs; nothing while there is none.
pub fn smoke() -> Option<Result<()>> {
    None
}
