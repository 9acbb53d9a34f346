//! Snapshots: how long a machine is saved, for how long its guest stands still, how soon another goes on from there, and
//! what many of those take; beside QEMU's savevm and loadvm.

mod clones;
mod contestant;
mod debian;
mod place;
mod qemu;
mod report;
mod started;
mod tiny;

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use crate::{packages, progress, workspace};

/// How to measure.
#[derive(clap::Args)]
pub struct Arguments {
    /// Saves and restores of the tiny guest.
    #[arg(long, default_value_t = 20)]
    runs: u32,
    /// Saves of Debian; it is restored twice as often.
    #[arg(long, default_value_t = 5)]
    saves: u32,
    /// Machines that go on from one snapshot at the same time; 0 for none.
    #[arg(long, default_value_t = 100)]
    clones: u32,
    /// The tiny guest only, and nothing written.
    #[arg(long)]
    tiny: bool,
    /// Where to write the tables and the plot.
    #[arg(long, default_value = "docs/bench")]
    out: PathBuf,
}

impl Arguments {
    /// As few as show that it works, written nowhere that lasts.
    pub fn smoke() -> Arguments {
        Arguments { runs: 1, saves: 1, clones: 2, tiny: false, out: workspace::target().join("bench") }
    }
}

/// Measures and writes `snapshot.md` and `snapshot.svg`.
pub fn run(arguments: &Arguments) -> Result<()> {
    packages::require(&[packages::BUILD, packages::GUESTS, packages::LAB, packages::QEMU_IMAGES])?;
    let yagura = workspace::build_yagura()?;
    let step = progress::step(format!("a tiny guest, {} saves and restores", arguments.runs));
    let tiny = tiny::run(&yagura, arguments.runs)?;
    step.done();
    println!("{}", report::tiny(&tiny, report::TERMINAL));
    if arguments.tiny {
        return Ok(());
    }
    let step = progress::step(format!("Debian, {} saves", arguments.saves));
    let debian = debian::run(&yagura, arguments.saves, arguments.saves * 2)?;
    step.done();
    println!("{}", report::debian(&debian.rows, report::TERMINAL));
    let mut clones = None;
    if arguments.clones > 0 {
        let step = progress::step(format!("{} machines from one snapshot", arguments.clones));
        clones = Some(clones::run(&debian.saved, arguments.clones)?);
        step.done();
    }
    clones.iter().for_each(|clones| println!("{}", report::clones(clones)));
    let out = workspace::root().join(&arguments.out);
    fs::create_dir_all(&out)?;
    fs::write(out.join("snapshot.md"), report::page(&tiny, &debian.rows, clones.as_ref(), arguments))?;
    report::draw(&out.join("snapshot.svg"), &debian.rows)?;
    println!("written to {}", arguments.out.display());
    Ok(())
}
