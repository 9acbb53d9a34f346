//! `cargo xtask bench`: measurements beside peers, in turn in one run. Each measurement is a submodule.
//!
//! The machine may be shared and noisy: what counts are ratios between columns of one run, not single times.

mod contestant;
mod cpu;
mod plot;
mod startup;
mod statistics;

use anyhow::Result;
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
    Startup(startup::Arguments),
    /// What a processor and a kernel do for a program, natively, on QEMU's TCG and on the software engine.
    Cpu(cpu::Arguments),
}

/// Takes the measurement.
pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.what {
        What::Startup(arguments) => startup::run(arguments),
        What::Cpu(arguments) => cpu::run(arguments),
    }
}

/// Runs every measurement once, to see that it runs; nothing where `/dev/kvm` cannot be opened.
pub fn smoke() -> Option<Result<()>> {
    let usable = std::fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
    usable.then(|| startup::run(&startup::Arguments::smoke()))
}
