//! Debian's cloud kernel to a busybox `init`, on QEMU's TCG and on Yagura's software engine in turn: wall time and CPU
//! time from spawn to the line that `init` prints.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use comfy_table::{CellAlignment, Table, TableStyle, presets};

use super::contestant::{self, Contestant, DEFAULT_COMMAND_LINE, FAST_COMMAND_LINE, Guest, Lines};
use super::plot::{self, Bars, Scale};
use super::statistics::Spread;
use crate::cache::Cache;
use crate::guests::{self, Archive};
use crate::{packages, progress, workspace};

/// How to measure.
#[derive(clap::Args)]
pub struct Arguments {
    /// Starts of each contestant in each way.
    #[arg(long, default_value_t = 5)]
    runs: u32,
    /// One more argument for `yagura run`; can be given several times.
    #[arg(long = "yagura", value_name = "ARGUMENT", allow_hyphen_values = true)]
    yagura_arguments: Vec<String>,
    /// Where to write the table and the plot.
    #[arg(long, default_value = "docs/bench")]
    out: PathBuf,
}

impl Arguments {
    /// As few as show that it works, written nowhere that lasts.
    pub fn smoke() -> Arguments {
        Arguments { runs: 1, yagura_arguments: Vec::new(), out: workspace::target().join("bench") }
    }
}

/// What `init` prints.
pub const MARKER: &str = "BENCH-BOOTED";
const INIT: &str = "#!/bin/busybox sh\necho BENCH-BOOTED\n/bin/busybox poweroff -f\n";
/// Time for Yagura's guest to come up, translated or not.
const PATIENCE: Duration = Duration::from_secs(60);
/// TCG's guest that has not come up by then will not: a busy host spoils the only timer of QEMU's microvm.
const PATIENCE_TCG: Duration = Duration::from_secs(20);

/// From spawn to the marker, in seconds.
struct Boot {
    wall: f64,
    cpu: f64,
}

/// A kernel's file and a command line.
struct Way {
    name: String,
    kernel: PathBuf,
    command_line: &'static str,
}

/// The boots of one contestant in one way.
#[derive(Default)]
struct Cell {
    boots: Vec<Boot>,
    /// Starts that never came up.
    stuck: u32,
}

/// Measures and writes `boot.md` and `boot.svg`.
pub fn run(arguments: &Arguments) -> Result<()> {
    packages::require(&[packages::BUILD, packages::GUESTS, packages::LAB])?;
    let binary = workspace::build_yagura()?;
    let contestants = [
        ("Yagura", Contestant::Yagura { binary, arguments: arguments.yagura_arguments.clone() }),
        ("QEMU q35", Contestant::Tcg { machine: "q35" }),
        ("QEMU microvm", Contestant::Tcg { machine: "microvm" }),
    ];
    let cache = Cache::open()?;
    let folder = tempfile::tempdir()?;
    let initrd = folder.path().join("initrd");
    fs::write(&initrd, archive(&guests::busybox(&cache)?)?)?;
    let ways = ways(&guests::cloud_kernel(&cache)?);
    let mut cells: Vec<Vec<Cell>> =
        ways.iter().map(|_| contestants.iter().map(|_| Cell::default()).collect()).collect();
    for run in 1..=arguments.runs {
        let step = progress::step(format!("boots, run {run} of {}", arguments.runs));
        for (way, cells) in ways.iter().zip(&mut cells) {
            for ((_, contestant), cell) in contestants.iter().zip(cells) {
                let Way { kernel, command_line, .. } = way;
                let guest = Guest { kernel, initrd: &initrd, command_line, cpus: 1 };
                boot(contestant, &guest, cell)?;
            }
        }
        step.done();
    }
    let names = contestants.map(|(name, _)| name);
    println!("{}", table(&names, &ways, &cells, presets::UTF8_FULL_CONDENSED));
    let out = workspace::root().join(&arguments.out);
    fs::create_dir_all(&out)?;
    fs::write(out.join("boot.md"), page(&names, &ways, &cells, arguments.runs))?;
    draw(&out.join("boot.svg"), &names, &ways, &cells)?;
    println!("written to {}", arguments.out.display());
    Ok(())
}

/// An archive whose `init` prints [`MARKER`] and powers off.
pub fn archive(busybox: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.folders(&["bin", "dev"]).character_device("dev/console", 5, 1);
    archive.copy("bin/busybox", 0o755, busybox)?.file("init", 0o755, INIT.as_bytes());
    Ok(archive.finish())
}

fn ways(kernel: &guests::Kernel) -> Vec<Way> {
    let files = [("bzImage", kernel.bzimage()), ("vmlinux", kernel.vmlinux())];
    let lines = [("default", DEFAULT_COMMAND_LINE), ("fast", FAST_COMMAND_LINE)];
    let way = |(file, kernel): &(&str, PathBuf), (line, command_line): (&str, &'static str)| Way {
        name: format!("{file}, {line} command line"),
        kernel: kernel.clone(),
        command_line,
    };
    lines.iter().flat_map(|line| files.iter().map(move |file| way(file, *line))).collect()
}

/// Starts the guest once. Only TCG's may get stuck.
fn boot(contestant: &Contestant, guest: &Guest, cell: &mut Cell) -> Result<()> {
    let mut lines = Lines::start(contestant.command(guest))?;
    let may_hang = matches!(contestant, Contestant::Tcg { .. });
    let deadline = contestant::within(if may_hang { PATIENCE_TCG } else { PATIENCE });
    loop {
        match lines.next(deadline) {
            Ok(Some((moment, line))) if line.contains(MARKER) => {
                let wall = moment.duration_since(lines.started()).as_secs_f64();
                cell.boots.push(Boot { wall, cpu: lines.cpu_seconds()? });
                return lines.finish(deadline);
            }
            Ok(Some(_)) => {}
            Ok(None) => bail!("{}", lines.complain("ended before its guest was up")),
            Err(_) if may_hang => {
                cell.stuck += 1;
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}

fn median(cell: &Cell, figure: fn(&Boot) -> f64) -> Option<f64> {
    Spread::of(cell.boots.iter().map(figure).collect()).map(|spread| spread.median)
}

fn page(names: &[&str], ways: &[Way], cells: &[Vec<Cell>], runs: u32) -> String {
    format!(
        "# Boot\n\n\
        Debian's cloud kernel from the monitor's start to the first line of a busybox `init`, 1 vCPU, 512 MiB: medians \
        of {runs} runs in turn on one machine, in seconds. The command lines are `{DEFAULT_COMMAND_LINE}` and \
        `{FAST_COMMAND_LINE}`. A ratio above 1 says how many times sooner Yagura's guest is up. A busy host keeps \
        Linux from measuring its clock on the microvm, and it then never comes up: such starts are counted. \
        `cargo xtask bench boot` writes this page.\n\n\
        {}\n\n![seconds to init](boot.svg)\n",
        table(names, ways, cells, presets::ASCII_MARKDOWN)
    )
}

fn table(names: &[&str], ways: &[Way], cells: &[Vec<Cell>], style: TableStyle) -> Table {
    let mut table = Table::new();
    table.load_style(style);
    table.set_header(["kernel", "monitor", "wall, s", "best", "CPU, s", "Yagura's speed", "stuck"]);
    for (way, cells) in ways.iter().zip(cells) {
        let ours = cells.first().and_then(|cell| median(cell, |boot| boot.wall));
        for (name, cell) in names.iter().zip(cells) {
            let wall = Spread::of(cell.boots.iter().map(|boot| boot.wall).collect());
            let figures = [
                wall.map(|wall| wall.median),
                wall.map(|wall| wall.best),
                median(cell, |boot| boot.cpu),
                wall.zip(ours).map(|(wall, ours)| wall.median / ours),
            ];
            let figures =
                figures.map(|figure| figure.map_or("–".to_owned(), |figure| format!("{figure:.2}")));
            let [wall, best, cpu, speed] = figures;
            let (way, name, stuck) = (way.name.clone(), (*name).to_owned(), cell.stuck.to_string());
            table.add_row([way, name, wall, best, cpu, speed, stuck]);
        }
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn draw(file: &Path, names: &[&str], ways: &[Way], cells: &[Vec<Cell>]) -> Result<()> {
    let group = |(way, cells): (&Way, &Vec<Cell>)| {
        (way.name.clone(), cells.iter().map(|cell| median(cell, |boot| boot.wall)).collect())
    };
    let groups: Vec<_> = ways.iter().zip(cells).map(group).collect();
    plot::bars(
        file,
        &Bars {
            title: "from start to init",
            axis: "seconds, median",
            series: names,
            groups: &groups,
            scale: Scale::Amounts,
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_prints_the_marker() {
        assert!(INIT.contains(MARKER));
    }

    #[test]
    fn a_boot_that_never_came_is_a_line_without_figures() {
        let way = Way { name: "vmlinux".to_owned(), kernel: PathBuf::new(), command_line: "" };
        let up = Cell { boots: vec![Boot { wall: 0.5, cpu: 0.4 }], stuck: 0 };
        let stuck = Cell { boots: vec![], stuck: 2 };
        let page = page(&["Yagura", "QEMU"], &[way], &[vec![up, stuck]], 2);
        let cells = |name: &str| -> Vec<&str> {
            let line = page.lines().find(|line| line.contains(&format!("| {name} "))).unwrap();
            line.split('|').map(str::trim).skip(3).collect()
        };
        assert_eq!(cells("Yagura")[..5], ["0.50", "0.50", "0.40", "1.00", "0"]);
        assert_eq!(cells("QEMU")[..5], ["–", "–", "–", "–", "2"]);
    }
}
