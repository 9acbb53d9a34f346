//! The jobs that the lab can run, a file a theme.

mod machine;

use super::plan::Plan;
use crate::guests::Guests;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The machine that a job wants.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// Processors.
    pub cpus: u32,
    /// Nested paging.
    pub npt: bool,
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
    /// How long it may take on a quick and idle machine.
    pub limit_seconds: u64,
    /// What it does, inside the machine.
    pub run: fn(&Lab) -> Result<Outcome>,
}

/// How a job ended that did not fail.
pub enum Outcome {
    Passed,
    Skipped(String),
}

/// Every job, in the order in which they run.
pub fn all() -> &'static [Job] {
    static ALL: std::sync::LazyLock<Vec<Job>> = std::sync::LazyLock::new(|| [machine::JOBS].concat());
    &ALL
}

/// What a running job has at hand.
pub struct Lab {
    plan: Plan,
    folder: PathBuf,
}

impl Lab {
    /// For the job `name`: a fresh folder of its own in memory.
    pub fn new(name: &str, plan: Plan) -> Result<Self> {
        let folder = Path::new("/tmp").join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(Self { plan, folder })
    }

    /// The job's own folder, in memory.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A time limit on this machine.
    pub fn limit(&self, seconds: u64) -> Duration {
        self.plan.limit(seconds)
    }

    /// What guests boot from, on the host's file system.
    pub fn guests(&self) -> Result<&Guests> {
        self.plan.guests.as_ref().context("this job asked for no guests")
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
