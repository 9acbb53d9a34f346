//! The jobs that the lab can run, a file a theme.

mod acpi;
mod boot;
mod console;
mod cpu;
mod debian;
mod disk;
mod endings;
mod engine;
mod exits;
mod hotplug;
mod kernels;
mod machine;
mod memory;
mod merge;
mod moves;
mod net;
mod several;

use super::plan::Plan;
use crate::guests::{Guests, Others};
use crate::process;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the lab's machine finds the host's files, also those that its own tmpfs hides.
const HOST_FILES: &str = "/run/lab/host";
/// Where the lab's machine finds Debian's disk image.
const DEBIAN_DISK: &str = "/dev/vda";
/// What a line of a job's begins with that is shown when the job has passed, too.
pub const FIGURE: &str = "figure: ";
/// A job's exit status that says that this machine cannot run it.
pub const SKIPPED: u8 = 77;

/// The machine that a job wants.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// Processors.
    pub cpus: u32,
    /// Nested paging.
    pub npt: bool,
}

/// What most jobs have: the plain machine, and the monitor in it.
const MONITOR: Job = Job {
    name: "",
    about: "",
    group: Group::PLAIN,
    quick: false,
    yagura: true,
    others: false,
    tests: None,
    soft: Soft::No,
    limit_seconds: 60,
    run: |_| Ok(Outcome::Passed),
};

/// Whether a job runs without the lab too: right on this host, on the software engine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Soft {
    No,
    Yes,
    /// In a network namespace of its own.
    WithNetwork,
    /// Only there: in an emulated machine it would take too long.
    Only,
}

impl Group {
    const PLAIN: Self = Self { cpus: 1, npt: true };
    const NO_NPT: Self = Self { cpus: 1, npt: false };
    const TWO_CPUS: Self = Self { cpus: 2, npt: true };

    /// The machine's name in reports.
    pub fn name(self) -> String {
        match self {
            Self::PLAIN => "plain".to_owned(),
            Self { npt: true, cpus } => format!("smp{cpus}"),
            Self { npt: false, cpus: 1 } => "npt0".to_owned(),
            Self { npt: false, cpus } => format!("npt0-smp{cpus}"),
        }
    }
}

/// Something to prove in the lab.
#[derive(Clone)]
pub struct Job {
    /// What `--job` calls it.
    pub name: &'static str,
    /// One line that says what it proves.
    pub about: &'static str,
    /// The machine that it wants.
    pub group: Group,
    /// Whether `cargo xtask test` without `--all` runs it.
    pub quick: bool,
    /// Whether it runs the monitor, and so wants it and guests prepared.
    pub yagura: bool,
    /// Whether it boots other kernels than the guests' own, and so wants them prepared.
    pub others: bool,
    /// The tests that it runs.
    pub tests: Option<Tests>,
    /// Whether it runs on the software engine too.
    pub soft: Soft,
    /// How long it may take on a quick and idle machine.
    pub limit_seconds: u64,
    /// What it does, inside the machine.
    pub run: fn(&Lab) -> Result<Outcome>,
}

/// Tests of this workspace that are built here and run in the lab.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tests {
    /// The package.
    pub package: &'static str,
    /// Cargo's arguments for which of its tests.
    pub target: &'static [&'static str],
    /// Worth the time that optimizing takes.
    pub optimized: bool,
}

/// How a job ended that did not fail.
pub enum Outcome {
    Passed,
    Skipped(String),
}

/// Every job, in the order in which they run.
pub fn all() -> &'static [Job] {
    static ALL: std::sync::LazyLock<Vec<Job>> = std::sync::LazyLock::new(|| {
        [
            machine::JOBS,
            engine::JOBS,
            boot::JOBS,
            console::JOBS,
            cpu::JOBS,
            debian::JOBS,
            endings::JOBS,
            disk::JOBS,
            hotplug::JOBS,
            exits::JOBS,
            net::JOBS,
            moves::JOBS,
            several::JOBS,
            kernels::JOBS,
            memory::JOBS,
            merge::JOBS,
            acpi::JOBS,
        ]
        .concat()
    });
    &ALL
}

/// The jobs that run in the lab's machine.
pub fn in_lab() -> impl Iterator<Item = &'static Job> {
    all().iter().filter(|job| job.soft != Soft::Only)
}

impl Job {
    /// The job with this name.
    pub fn named(name: &str) -> Result<&'static Job> {
        all().iter().find(|job| job.name == name).with_context(|| format!("no job is named {name}"))
    }

    /// Does the job in `lab`; the process's exit status says so when it cannot be done here.
    pub fn run_in(&self, lab: &Lab) -> Result<()> {
        match (self.run)(lab)? {
            Outcome::Passed => Ok(()),
            Outcome::Skipped(why) => {
                println!("{why}");
                std::process::exit(i32::from(SKIPPED));
            }
        }
    }
}

/// What a running job has at hand.
pub struct Lab {
    plan: Plan,
    folder: PathBuf,
    place: Place,
}

/// Where a job runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the lab's machine, on KVM.
    Machine,
    /// On the host itself, on the software engine.
    Host,
}

impl Lab {
    /// For the job `name`: a fresh folder of its own in memory.
    pub fn new(name: &str, plan: Plan) -> Result<Self> {
        let folder = Path::new("/tmp").join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(Self { plan, folder, place: Place::Machine })
    }

    /// For a job on this host, with a fresh folder.
    pub fn here(folder: &Path, plan: Plan) -> Self {
        Self { plan, folder: folder.to_owned(), place: Place::Host }
    }

    /// The engine that guests run on, as the monitor names it.
    pub fn engine(&self) -> &'static str {
        match self.place {
            Place::Machine => "kvm",
            Place::Host => "soft",
        }
    }

    /// The job's own folder, in memory.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the monitors of this job find each other.
    pub fn yagura_dir(&self) -> PathBuf {
        self.folder.join("yagura")
    }

    /// A time limit on this machine.
    pub fn limit(&self, seconds: u64) -> Duration {
        self.plan.limit(seconds)
    }

    /// The monitor's executable.
    pub fn yagura(&self) -> Result<PathBuf> {
        self.local(self.plan.yagura.as_deref().context("this job asked for no monitor")?)
    }

    /// The monitor's executable, with that of the commands for images and snapshots beside it.
    pub fn yagura_with_cloud(&self) -> Result<PathBuf> {
        let yagura = self.plan.yagura.as_deref().context("this job asked for no monitor")?;
        if self.place == Place::Host {
            return Ok(yagura.to_owned());
        }
        let folder = Path::new("/run/lab/installed");
        if !folder.exists() {
            std::fs::create_dir(folder)?;
            for name in ["yagura", "yagura-cloud"] {
                std::fs::hard_link(self.local(&yagura.with_file_name(name))?, folder.join(name))?;
            }
        }
        Ok(folder.join("yagura"))
    }

    /// A copy in memory of a file of the host's, in the lab's machine: reading by 9p is slow.
    pub fn local(&self, file: &Path) -> Result<PathBuf> {
        if self.place == Place::Host {
            return Ok(file.to_owned());
        }
        let mut name = file.iter().rev().take(2).map(|part| part.to_string_lossy()).collect::<Vec<_>>();
        name.reverse();
        let copy = Path::new("/run/lab").join(name.join("-"));
        if !copy.exists() {
            let file = Path::new(HOST_FILES).join(file.strip_prefix("/").unwrap_or(file));
            std::fs::copy(&file, &copy).with_context(|| format!("cannot copy {}", file.display()))?;
        }
        Ok(copy)
    }

    /// Debian's disk image; not to be written.
    pub fn debian_image(&self) -> Result<&Path> {
        match self.place {
            Place::Machine => Ok(Path::new(DEBIAN_DISK)),
            Place::Host => Ok(&self.guests()?.debian),
        }
    }

    /// A fresh copy of Debian's disk in the job's folder; blocks of zeros take no room.
    pub fn debian_disk(&self, name: &str) -> Result<PathBuf> {
        let copy = self.folder.join(format!("{name}.ext4"));
        let mut command = std::process::Command::new("cp");
        process::run(command.arg("--sparse=always").arg(self.debian_image()?).arg(&copy))?;
        Ok(copy)
    }

    /// What guests boot from, on the host's file system.
    pub fn guests(&self) -> Result<&Guests> {
        self.plan.guests.as_ref().context("this job asked for no guests")
    }

    /// Other kernels, on the host's file system.
    pub fn others(&self) -> Result<&Others> {
        self.plan.others.as_ref().context("this job asked for no other kernels")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_plain() {
        let mut names: Vec<&str> = all().iter().map(|job| job.name).collect();
        assert!(
            names
                .iter()
                .all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'))
        );
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
