//! vCPUs that share one processor of the host, whose threads are batch threads (SCHED_BATCH, as Yagura makes them) or
//! ordinary ones (as `chrt` makes them again), in turn.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use comfy_table::{CellAlignment, Table, TableStyle, presets};

use super::contestant::{self, Contestant, FAST_COMMAND_LINE, Guest, Lines};
use super::cpu;
use super::plot::{self, Bars, Scale};
use super::statistics::Spread;
use crate::cache::Cache;
use crate::{guests, packages, progress, workspace};

/// How to measure.
#[derive(clap::Args)]
pub struct Arguments {
    /// Runs of each kind of thread with each number of vCPUs.
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Where to write the table and the plot.
    #[arg(long, default_value = "docs/bench")]
    out: PathBuf,
}

impl Arguments {
    /// As few as show that it works, written nowhere that lasts.
    pub fn smoke() -> Arguments {
        Arguments { runs: 1, out: workspace::target().join("bench") }
    }
}

const CPUS: [u32; 3] = [1, 2, 4];
const POLICIES: [&str; 2] = ["batch", "other"];
/// What the guest does, and what it is for a person.
const WORKS: [(&str, &str); 2] = [("pipe", "50 MiB through a pipe"), ("map", "4 threads map and unmap")];
/// One run, on a busy host.
const PATIENCE: Duration = Duration::from_secs(120);

/// Milliseconds of one work with so many vCPUs: of batch threads, of others.
struct Row {
    work: usize,
    cpus: u32,
    millis: [Vec<f64>; 2],
}

impl Row {
    fn median(&self, policy: usize) -> Option<f64> {
        Spread::of(self.millis[policy].clone()).map(|spread| spread.median)
    }

    fn ratio(&self) -> Option<f64> {
        Some(self.median(1)? / self.median(0)?)
    }

    fn name(&self) -> String {
        let plural = if self.cpus == 1 { "" } else { "s" };
        format!("{}, {} vCPU{plural}", WORKS[self.work].1, self.cpus)
    }
}

/// Measures and writes `smp.md` and `smp.svg`.
pub fn run(arguments: &Arguments) -> Result<()> {
    packages::require(&[packages::BUILD, packages::GUESTS, packages::SCHEDULING])?;
    let program = workspace::build_static("guest_bench")?;
    let yagura = Contestant::Yagura { binary: workspace::build_yagura()?, arguments: Vec::new() };
    let kernel = guests::cloud_kernel(&Cache::open()?)?.vmlinux();
    let folder = tempfile::tempdir()?;
    let initrd = folder.path().join("initrd");
    fs::write(&initrd, cpu::archive(&program)?)?;
    let command_line = format!("{FAST_COMMAND_LINE} -- --smp 3");
    let mut rows: Vec<Row> = (0..WORKS.len())
        .flat_map(|work| CPUS.map(|cpus| Row { work, cpus, millis: Default::default() }))
        .collect();
    for run in 1..=arguments.runs {
        let step = progress::step(format!("run {run} of {}", arguments.runs));
        for cpus in CPUS {
            let guest = Guest { kernel: &kernel, initrd: &initrd, command_line: &command_line, cpus };
            for (policy, name) in POLICIES.iter().enumerate() {
                let measured = measure(&yagura, &guest, *name == "other")?;
                for row in rows.iter_mut().filter(|row| row.cpus == cpus) {
                    row.millis[policy].extend(&measured[row.work]);
                }
            }
        }
        step.done();
    }
    println!("{}", table(&rows, presets::UTF8_FULL_CONDENSED));
    let out = workspace::root().join(&arguments.out);
    fs::create_dir_all(&out)?;
    fs::write(out.join("smp.md"), page(&rows, arguments.runs))?;
    draw(&out.join("smp.svg"), &rows)?;
    println!("written to {}", arguments.out.display());
    Ok(())
}

/// Milliseconds of each work in one guest, whose threads all run on one processor.
fn measure(yagura: &Contestant, guest: &Guest, ordinary: bool) -> Result<[Vec<f64>; 2]> {
    let command = yagura.command(guest);
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", &first_processor()?]).arg(command.get_program()).args(command.get_args());
    let mut lines = Lines::start(pinned)?;
    let deadline = contestant::within(PATIENCE);
    let mut found: [Vec<f64>; 2] = Default::default();
    while let Some((_, line)) = lines.next(deadline)? {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("READY") if ordinary => make_ordinary(lines.pid())?,
            Some("SMP") => {
                let name = words.next().unwrap_or_default();
                let work = WORKS.iter().position(|(work, _)| *work == name).context("an unknown work")?;
                found[work] = words.filter_map(|word| word.parse().ok()).map(|ns: f64| ns / 1e6).collect();
            }
            _ => {}
        }
    }
    if found.iter().any(Vec::is_empty) {
        bail!("{}", lines.complain("did not measure everything"));
    }
    lines.finish(deadline)?;
    Ok(found)
}

/// The first processor that this process may use.
fn first_processor() -> Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let first = list.and_then(|list| list.trim().split([',', '-']).next());
    Ok(first.context("the kernel does not tell the processors")?.to_owned())
}

/// Gives all threads of the process the policy that they would have by themselves.
fn make_ordinary(pid: u32) -> Result<()> {
    let status =
        Command::new("chrt").args(["--all-tasks", "--other", "--pid", "0", &pid.to_string()]).status()?;
    ensure!(status.success(), "chrt ended with {status}");
    Ok(())
}

fn page(rows: &[Row], runs: u32) -> String {
    format!(
        "# vCPUs that share a processor\n\n\
        Debian's cloud kernel on the software engine with all threads of the VM on one processor of the host: milliseconds, \
        medians of {runs} runs in turn with three repetitions each. Threads of vCPUs are batch threads (SCHED_BATCH) \
        unless somebody gives them another policy; `other` is after `chrt --all-tasks --other`. A ratio above 1 says how many \
        times faster batch threads are. `cargo xtask bench smp` writes this page.\n\n\
        {}\n\n![how many times faster batch threads are](smp.svg)\n",
        table(rows, presets::ASCII_MARKDOWN)
    )
}

fn table(rows: &[Row], style: TableStyle) -> Table {
    let mut table = Table::new();
    table.load_style(style);
    table.set_header(["work", "batch, ms", "other, ms", "ratio"]);
    let figure = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.2}"));
    for row in rows {
        table.add_row([row.name(), figure(row.median(0)), figure(row.median(1)), figure(row.ratio())]);
    }
    table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}

fn draw(file: &Path, rows: &[Row]) -> Result<()> {
    let groups: Vec<_> = rows.iter().map(|row| (row.name(), vec![row.ratio()])).collect();
    plot::bars(
        file,
        &Bars {
            title: "vCPUs on one processor: batch threads against ordinary ones",
            axis: "times faster, logarithmic",
            series: &["batch : other"],
            groups: &groups,
            scale: Scale::Ratios,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_of_medians() {
        let row = Row { work: 0, cpus: 2, millis: [vec![1.0, 2.0, 9.0], vec![50.0, 60.0, 10.0]] };
        assert_eq!((row.ratio(), row.name().as_str()), (Some(25.0), "50 MiB through a pipe, 2 vCPUs"));
        assert!(page(&[row], 3).contains("| 25.00"));
    }
}
