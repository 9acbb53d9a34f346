//! What a processor and a kernel do for a program: natively, as a guest of QEMU's TCG, as a guest of Yagura.
//!
//! One static program, `bench/guest_bench`, is `init` of the same kernel with the same archive in each guest, and runs
//! on the host too. The contestants take turns; all work has to come to the same results everywhere.

mod comparison;
mod output;
mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::contestant::{self, Contestant, FAST_COMMAND_LINE, Guest, Lines};
use crate::cache::Cache;
use crate::guests::{self, Archive};
use crate::packages::{self, Need};
use crate::{progress, workspace};
use comparison::{Column, Comparison, NATIVE, TCG, YAGURA};
use output::Run;

/// How to measure.
#[derive(clap::Args)]
pub struct Arguments {
    /// These benchmarks only.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Runs of each contestant.
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Length of a repetition, of which a run has three.
    #[arg(long, value_name = "N", default_value_t = 100)]
    millis: u32,
    /// What to measure against, besides the host itself.
    #[arg(long, value_enum, default_value_t = Peer::Tcg)]
    peer: Peer,
    /// What CPU Yagura's guest sees.
    #[arg(long, value_name = "MODEL")]
    cpu_model: Option<String>,
    /// One more argument for `yagura run`; can be given several times.
    #[arg(long = "yagura", value_name = "ARGUMENT", allow_hyphen_values = true)]
    yagura_arguments: Vec<String>,
    /// Where the page and the plot go; one that lacks the peer or a benchmark is only printed.
    #[arg(long, default_value = "docs/bench")]
    out: PathBuf,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Peer {
    /// QEMU's TCG.
    Tcg,
    /// Nobody.
    None,
}

impl Arguments {
    /// As few as show that it works, written nowhere that lasts.
    pub fn smoke() -> Arguments {
        Arguments {
            only: Vec::new(),
            runs: 1,
            millis: 1,
            peer: Peer::Tcg,
            cpu_model: None,
            yagura_arguments: Vec::new(),
            out: workspace::target().join("bench"),
        }
    }
}

/// Benchmarks that want a second vCPU. The others have a guest of one, where TCG's code is faster.
const TWO_CPUS: &[&str] = &["thread_handover"];
/// Time for a guest to come up.
const BOOT: Duration = Duration::from_secs(60);
/// Time for one benchmark beyond what its repetitions take, data made ready and rounds that take long.
const EACH: Duration = Duration::from_secs(5);
/// More than there are.
const BENCHMARKS_MAX: u32 = 64;
/// A chipset that Linux comes up on every time. The smaller microvm has a timer that a busy host spoils.
const MACHINE: &str = "q35";

/// Measures, prints the table, and writes `cpu.md` and `cpu.svg`.
pub fn run(arguments: &Arguments) -> Result<()> {
    let peer: &[Need] = if arguments.peer == Peer::Tcg { packages::LAB } else { &[] };
    packages::require(&[packages::BUILD, packages::GUESTS, peer])?;
    let bench = Bench::prepare(arguments)?;
    let names: &[_] = if arguments.peer == Peer::Tcg { &[NATIVE, TCG, YAGURA] } else { &[NATIVE, YAGURA] };
    let mut columns: Vec<Column> = names.iter().map(|name| Column { name, runs: Vec::new() }).collect();
    for round in 1..=arguments.runs {
        for column in &mut columns {
            let step = progress::step(format!("run {round} of {}: {}", arguments.runs, column.name));
            column.runs.push(bench.run(column.name).with_context(|| format!("{} failed", column.name))?);
            step.done();
        }
    }
    let comparison = Comparison::of(&columns)?;
    println!("{}", report::terminal(&comparison));
    if arguments.peer == Peer::Tcg && arguments.only.is_empty() {
        let out = workspace::root().join(&arguments.out);
        fs::create_dir_all(&out)?;
        fs::write(out.join("cpu.md"), report::page(&comparison, arguments.runs))?;
        report::draw(&comparison, &out.join("cpu.svg"))?;
        println!("written to {}", arguments.out.display());
    }
    Ok(())
}

/// Everything made ready.
struct Bench<'a> {
    arguments: &'a Arguments,
    program: PathBuf,
    yagura: Contestant,
    kernel: PathBuf,
    /// Holds the archive.
    folder: tempfile::TempDir,
}

impl<'a> Bench<'a> {
    fn prepare(arguments: &'a Arguments) -> Result<Bench<'a>> {
        let program = workspace::build_static("guest_bench")?;
        let mut more = arguments.yagura_arguments.clone();
        more.extend(arguments.cpu_model.iter().flat_map(|model| ["--cpu-model".to_owned(), model.clone()]));
        let yagura = Contestant::Yagura { binary: workspace::build_yagura()?, arguments: more };
        let kernel = guests::cloud_kernel(&Cache::open()?)?.vmlinux();
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("initrd"), archive(&program)?)?;
        Ok(Bench { arguments, program, yagura, kernel, folder })
    }

    /// One run of the list by one contestant.
    fn run(&self, name: &str) -> Result<Run> {
        let tcg = Contestant::Tcg { machine: MACHINE };
        let contestant = match name {
            NATIVE => return self.native(),
            TCG => &tcg,
            _ => &self.yagura,
        };
        let wanted = |name: &&str| {
            self.arguments.only.is_empty() || self.arguments.only.iter().any(|only| only == name)
        };
        let two: Vec<&str> = TWO_CPUS.iter().copied().filter(wanted).collect();
        let one: Vec<&str> =
            self.arguments.only.iter().map(String::as_str).filter(|name| !two.contains(name)).collect();
        let mut run = Run { clock_ratio: 1.0, ..Run::default() };
        if !one.is_empty() || self.arguments.only.is_empty() {
            run = self.guest(contestant, 1, &one)?;
            run.skipped.retain(|(name, _)| !two.contains(&name.as_str()));
        }
        if !two.is_empty() {
            let second = self.guest(contestant, 2, &two)?;
            run.measured.extend(second.measured);
            run.skipped.extend(second.skipped);
            run.failed.extend(second.failed);
        }
        Ok(run)
    }

    fn native(&self) -> Result<Run> {
        let mut command = Command::new(&self.program);
        command.args(self.words(&self.arguments.only.iter().map(String::as_str).collect::<Vec<_>>()));
        self.read(Lines::start(command)?)
    }

    fn guest(&self, contestant: &Contestant, cpus: u32, only: &[&str]) -> Result<Run> {
        let command_line = format!("{FAST_COMMAND_LINE} -- {}", self.words(only).join(" "));
        let initrd = self.folder.path().join("initrd");
        let guest = Guest { kernel: &self.kernel, initrd: &initrd, command_line: &command_line, cpus };
        self.read(Lines::start(contestant.command(&guest))?)
    }

    /// The program's arguments.
    fn words(&self, only: &[&str]) -> Vec<String> {
        let mut words = vec!["--millis".to_owned(), self.arguments.millis.to_string()];
        if !only.is_empty() {
            words.extend(["--only".to_owned(), only.join(",")]);
        }
        words
    }

    fn read(&self, mut lines: Lines) -> Result<Run> {
        // Three repetitions, and as long again to find out how many rounds they take.
        let repetitions = Duration::from_millis(u64::from(self.arguments.millis)) * 4;
        let deadline = contestant::within(BOOT + (EACH + repetitions) * BENCHMARKS_MAX);
        let run = Run::read(&mut lines, deadline)?;
        lines.finish(deadline)?;
        Ok(run)
    }
}

/// The guest's archive: the program is its init.
pub fn archive(program: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.folders(&["dev", "proc"]).character_device("dev/console", 5, 1).copy("init", 0o755, program)?;
    Ok(archive.finish())
}
