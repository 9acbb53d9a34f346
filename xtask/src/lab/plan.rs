//! What the host tells the lab's machine: which jobs to run, with which files.

use super::jobs::Job;
use crate::guests::{Archive, Guests, Others};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the plan is in the lab's machine.
const FOLDER: &str = "/run/lab";

/// Starts the agent in the lab's machine.
const START: &str = "#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
exec /run/lab/xtask lab-agent
";

/// How much longer than on a quick and idle machine everything may take.
const SLOW: &str = "YAGURA_LAB_SLOW";
const DEFAULT_SLOW: u32 = 2;

/// Of the suite of system semantics, run only the cases whose names contain this.
pub const CASES: &str = "YAGURA_CASES";

/// The jobs and the files that they use, all paths being the host's.
#[derive(Serialize, Deserialize)]
pub struct Plan {
    /// Names of the jobs, in the order to run them.
    pub jobs: Vec<String>,
    /// Factor for every time limit.
    pub slow: u32,
    /// The monitor, where a job wants it.
    pub yagura: Option<PathBuf>,
    /// What guests boot from, where a job wants them.
    pub guests: Option<Guests>,
    /// Other kernels, where a job boots them.
    pub others: Option<Others>,
    /// Executables with tests, by the names of the jobs that want them.
    pub tests: BTreeMap<String, PathBuf>,
    /// Which cases of system semantics to run, where not all.
    pub cases: Option<String>,
}

impl Plan {
    /// A plan for these jobs.
    pub fn new(jobs: &[&Job], yagura: Option<PathBuf>, guests: Option<Guests>) -> Result<Self> {
        let slow = match std::env::var(SLOW) {
            Ok(text) => text.parse().with_context(|| format!("{SLOW}={text} is no whole number"))?,
            Err(_) => DEFAULT_SLOW,
        };
        let jobs = jobs.iter().map(|job| job.name.to_owned()).collect();
        let cases = std::env::var(CASES).ok();
        Ok(Self { jobs, slow, yagura, guests, others: None, tests: BTreeMap::new(), cases })
    }

    /// A time limit on this machine.
    pub fn limit(&self, seconds: u64) -> Duration {
        Duration::from_secs(seconds * u64::from(self.slow))
    }

    /// The archive that carries the plan into the machine, to follow the initramfs.
    pub fn archive(&self) -> Result<Vec<u8>> {
        let mut archive = Archive::default();
        archive.folders(&["lab"]);
        archive.file("lab/start", 0o755, START.as_bytes());
        // The program that runs, also when its file has been replaced by a newer one since it started.
        archive.copy("lab/xtask", 0o755, Path::new("/proc/self/exe"))?;
        archive.file("lab/plan.json", 0o644, &serde_json::to_vec(self)?);
        Ok(archive.finish())
    }

    /// Writes the plan for a job on this host.
    pub fn write_to(&self, path: &Path) -> Result<()> {
        std::fs::write(path, serde_json::to_vec(self)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Reads the plan inside the machine.
    pub fn read() -> Result<Self> {
        Self::read_from(&Path::new(FOLDER).join("plan.json"))
    }

    /// Reads what [`write_to`](Plan::write_to) wrote.
    pub fn read_from(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(serde_json::from_slice(&text)?)
    }
}
