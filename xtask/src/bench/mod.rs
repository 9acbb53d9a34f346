//! `cargo xtask bench`: measurements beside peers, in turn in one run. Each measurement is a submodule.
//!
//! The machine may be shared and noisy: what counts are ratios between columns of one run, not single times.

pub mod boot;
pub mod contestant;
mod cpu;
mod disk;
mod plot;
mod smaps;
mod smp;
mod snapshot;
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
    /// Spawn to `init` of Debian's cloud kernel, on QEMU's TCG and on the software engine.
    Boot(boot::Arguments),
    /// Throughput of disks and what a request costs, on QEMU's TCG and on the software engine.
    Disk(disk::Arguments),
    /// vCPUs that share a processor, as batch threads and as ordinary ones.
    Smp(smp::Arguments),
    /// Snapshots, machines that go on from them, and many from one, beside QEMU's savevm and loadvm.
    Snapshot(snapshot::Arguments),
}

/// Takes the measurement.
pub fn run(arguments: &Arguments) -> Result<()> {
    match &arguments.what {
        What::Startup(arguments) => startup::run(arguments),
        What::Cpu(arguments) => cpu::run(arguments),
        What::Boot(arguments) => boot::run(arguments),
        What::Disk(arguments) => disk::run(arguments),
        What::Smp(arguments) => smp::run(arguments),
        What::Snapshot(arguments) => snapshot::run(arguments),
    }
}

/// A measurement's name, and what became of it; nothing where this machine cannot take it.
pub type Smoke = (&'static str, Option<Result<()>>);

/// Runs every measurement once, to see that it runs.
pub fn smoke() -> [Smoke; 6] {
    // The other monitors' best way to start fast is KVM.
    let usable = std::fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
    [
        ("bench startup", usable.then(|| startup::run(&startup::Arguments::smoke()))),
        ("bench cpu", Some(cpu::run(&cpu::Arguments::smoke()))),
        ("bench boot", Some(boot::run(&boot::Arguments::smoke()))),
        ("bench disk", Some(disk::run(&disk::Arguments::smoke()))),
        ("bench smp", Some(smp::run(&smp::Arguments::smoke()))),
        ("bench snapshot", Some(snapshot::run(&snapshot::Arguments::smoke()))),
    ]
}
