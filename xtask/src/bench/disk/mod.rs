//! virtio block: throughput, and CPU time for a request, of Yagura's software engine beside QEMU's TCG. The same guest
//! with the same fio on the same images, in turn.

mod cases;
mod images;
mod measure;
mod report;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::contestant::{Contestant, FAST_COMMAND_LINE, Guest};
use crate::cache::Cache;
use crate::guests::{self, Guests};
use crate::{packages, progress, workspace};
use cases::{Case, Format, Pattern};
use measure::{Attached, Sample};

/// How to measure.
#[derive(clap::Args)]
pub struct Arguments {
    /// These cases only: all whose name contains the word, such as `qcow2-randwrite` or `-4k-x32`.
    #[arg(long, value_name = "WORD", value_delimiter = ',')]
    only: Vec<String>,
    /// Runs of each contestant.
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Longest time of a case.
    #[arg(long, value_name = "N", default_value_t = 500)]
    millis: u32,
    /// One run of the least and the most depth, to get an impression.
    #[arg(long)]
    quick: bool,
    /// One more argument for `yagura run`; can be given several times.
    #[arg(long = "yagura", value_name = "ARGUMENT", allow_hyphen_values = true)]
    yagura_arguments: Vec<String>,
    /// Where the images are made [default: the folder for temporary files].
    #[arg(long, value_name = "FOLDER")]
    images: Option<PathBuf>,
    /// Where the page and the plot go; one that lacks cases is only printed.
    #[arg(long, default_value = "docs/bench")]
    out: PathBuf,
}

impl Arguments {
    /// As few as show that it works, written nowhere that lasts.
    pub fn smoke() -> Arguments {
        Arguments {
            only: ["raw-randread-4k-x8", "qcow2-write-64k-x8"].map(str::to_owned).to_vec(),
            runs: 1,
            millis: 50,
            quick: false,
            yagura_arguments: Vec::new(),
            images: None,
            out: workspace::target().join("bench"),
        }
    }

    fn cases(&self) -> Vec<Case> {
        let named = |case: &Case| {
            let name = case.to_string();
            self.only.is_empty() || self.only.iter().any(|word| format!("{name}-").contains(word))
        };
        let ends = [cases::DEPTHS.first(), cases::DEPTHS.last()];
        let quick = |case: &Case| !self.quick || ends.contains(&Some(&case.depth));
        Case::all().into_iter().filter(|case| named(case) && quick(case)).collect()
    }

    fn runs(&self) -> u32 {
        if self.quick { 1 } else { self.runs }
    }
}

const NAMES: [&str; 2] = ["Yagura", "QEMU"];
/// A chipset that Linux comes up on every time.
const MACHINE: &str = "q35";
/// Length of the disk that brings the guest its script and takes fio's report.
const NOTES_BYTES: usize = 512 << 10;

/// A case and what each contestant's runs of it came to.
struct Row {
    case: Case,
    samples: [Vec<Sample>; NAMES.len()],
}

/// Measures, prints the table, and writes `disk.md` and `disk.svg`.
pub fn run(arguments: &Arguments) -> Result<()> {
    packages::require(&[packages::BUILD, packages::GUESTS, packages::LAB])?;
    let cases = arguments.cases();
    ensure!(!cases.is_empty(), "no case's name contains {}", arguments.only.join(" or "));
    let bench = Bench::prepare(arguments)?;
    let mut rows: Vec<Row> =
        cases.iter().map(|case| Row { case: *case, samples: Default::default() }).collect();
    for run in 1..=arguments.runs() {
        let step = progress::step(format!("disks, run {run} of {}", arguments.runs()));
        for group in rows.chunk_by_mut(|one, next| same_guest(&one.case, &next.case)) {
            bench.measure(run, group)?;
        }
        step.done();
        // A later run that fails, or is ended, leaves what was measured before.
        if cases.len() == Case::all().len() {
            write(&rows, run, &arguments.out)?;
        }
    }
    println!("{}", report::terminal(&rows));
    Ok(())
}

fn write(rows: &[Row], runs: u32, out: &Path) -> Result<()> {
    let folder = workspace::root().join(out);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("disk.md"), report::page(rows, runs))?;
    report::draw(rows, &folder.join("disk.svg"))?;
    println!("written to {}", out.display());
    Ok(())
}

/// Whether one guest runs both.
fn same_guest(one: &Case, other: &Case) -> bool {
    (one.format, one.pattern.is_write()) == (other.format, other.pattern.is_write())
}

/// Everything made ready.
struct Bench<'a> {
    arguments: &'a Arguments,
    yagura: PathBuf,
    contestants: [Contestant; NAMES.len()],
    guests: Guests,
    /// Holds the images.
    folder: tempfile::TempDir,
    /// To be read, raw and qcow2.
    filled: [PathBuf; 2],
}

impl<'a> Bench<'a> {
    fn prepare(arguments: &'a Arguments) -> Result<Bench<'a>> {
        let yagura = workspace::build_yagura()?;
        let guests = guests::prepare(&Cache::open()?)?;
        let folder = match &arguments.images {
            Some(folder) => tempfile::tempdir_in(folder),
            None => tempfile::tempdir(),
        }
        .context("cannot make a folder for the images")?;
        let step = progress::step("making images");
        let filled = images::filled(&yagura, folder.path())?;
        step.done();
        let ours =
            Contestant::Yagura { binary: yagura.clone(), arguments: arguments.yagura_arguments.clone() };
        let contestants = [ours, Contestant::Tcg { machine: MACHINE }];
        Ok(Bench { arguments, yagura, contestants, guests, folder, filled })
    }

    /// One run of the cases of one guest, on each contestant; who is first changes from run to run.
    fn measure(&self, run: u32, rows: &mut [Row]) -> Result<()> {
        let cases: Vec<Case> = rows.iter().map(|row| row.case).collect();
        let Some(Case { format, pattern, .. }) = cases.first().copied() else { return Ok(()) };
        let notes = self.folder.path().join("notes");
        let jobs = cases::jobs(&cases, "/dev/vdb", self.arguments.millis);
        let mut script = cases::script(&jobs, "/dev/vda", "/dev/vdc").into_bytes();
        ensure!(script.len() <= NOTES_BYTES, "the guest's script is too long");
        script.resize(NOTES_BYTES, 0);
        let mut order: Vec<_> = NAMES.iter().zip(&self.contestants).enumerate().collect();
        order.rotate_left(run as usize % NAMES.len());
        for (index, (name, contestant)) in order {
            let disk = self.disk(format, pattern, &cases)?;
            fs::write(&notes, &script)?;
            let samples = self.start(contestant, &disk, &notes, &cases);
            let samples =
                samples.with_context(|| format!("{name}, {} on {}", pattern.name(), format.name()))?;
            rows.iter_mut().zip(samples).for_each(|(row, sample)| row.samples[index].push(sample));
        }
        Ok(())
    }

    /// Full for reads, empty for writes.
    fn disk(&self, format: Format, pattern: Pattern, cases: &[Case]) -> Result<PathBuf> {
        if !pattern.is_write() {
            let [raw, qcow2] = &self.filled;
            return Ok(match format {
                Format::Raw => raw,
                Format::Qcow2 => qcow2,
            }
            .clone());
        }
        let path = self.folder.path().join("fresh");
        images::fresh(&self.yagura, &path, format, cases::disk_mib(cases))?;
        Ok(path)
    }

    fn start(
        &self,
        contestant: &Contestant,
        disk: &Path,
        notes: &Path,
        cases: &[Case],
    ) -> Result<Vec<Sample>> {
        let Guests { vmlinux, initrd, debian, .. } = &self.guests;
        let Some(Case { format, pattern, .. }) = cases.first().copied() else { return Ok(Vec::new()) };
        let guest = Guest { kernel: vmlinux, initrd, command_line: FAST_COMMAND_LINE, cpus: 1 };
        let raw = |path, read_only, serial| Attached { path, format: Format::Raw, read_only, serial };
        let disks = [
            raw(debian, true, "debian"),
            Attached { path: disk, format, read_only: !pattern.is_write(), serial: "measured" },
            // The serial number by which the guest finds its script.
            raw(notes, false, "script"),
        ];
        measure::run(contestant, &guest, &disks, notes, cases, self.arguments.millis)
    }
}
