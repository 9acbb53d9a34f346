//! What the host tells the lab's machine: which jobs to run, with which files.

use super::jobs::Job;
use crate::guests::{Archive, Guests};
use crate::workspace;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the plan is in the lab's machine.
const FOLDER: &str = "/run/lab";

/// How much longer than on a quick and idle machine everything may take.
const SLOW: &str = "YAGURA_LAB_SLOW";
const DEFAULT_SLOW: u32 = 2;

/// The jobs and the files that they use, all paths being the host's.
#[derive(Serialize, Deserialize)]
pub struct Plan {
    /// Names of the jobs, in the order to run them.
    pub jobs: Vec<String>,
    /// Factor for every time limit.
    pub slow: u32,
    /// This program.
    pub xtask: PathBuf,
    /// The monitor.
    pub yagura: PathBuf,
    /// What guests boot from, where a job wants them.
    pub guests: Option<Guests>,
}

impl Plan {
    /// A plan for these jobs.
    pub fn new(jobs: &[&Job], guests: Option<Guests>) -> Result<Self> {
        let slow = match std::env::var(SLOW) {
            Ok(text) => text.parse().with_context(|| format!("{SLOW}={text} is no whole number"))?,
            Err(_) => DEFAULT_SLOW,
        };
        let xtask = std::env::current_exe().context("cannot find this program's file")?;
        let jobs = jobs.iter().map(|job| job.name.to_owned()).collect();
        Ok(Self { jobs, slow, xtask, yagura: workspace::yagura(), guests })
    }

    /// A time limit on this machine.
    pub fn limit(&self, seconds: u64) -> Duration {
        Duration::from_secs(seconds * u64::from(self.slow))
    }

    /// The archive that carries the plan into the machine, to follow the initramfs.
    pub fn archive(&self) -> Result<Vec<u8>> {
        let xtask = self.xtask.display();
        let start = format!(
            "#!/bin/sh\nexport PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root\n\
             cp '{xtask}' {FOLDER}/xtask\nexec {FOLDER}/xtask lab-agent\n"
        );
        let mut archive = Archive::default();
        archive.folders(&["lab"]);
        archive.file("lab/start", 0o755, start.as_bytes());
        archive.file("lab/plan.json", 0o644, &serde_json::to_vec(self)?);
        Ok(archive.finish())
    }

    /// Reads the plan inside the machine.
    pub fn read() -> Result<Self> {
        let path = Path::new(FOLDER).join("plan.json");
        let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(serde_json::from_slice(&text)?)
    }
}
