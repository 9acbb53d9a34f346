//! Jobs of the lab without its machine: the same checks on the software engine, right on this host.
//!
//! A job is a process of its own here too. One that wants a network gets a namespace that holds nothing yet, and makes
//! its tap there; nothing of the host's own network is seen or changed.

use super::agent;
use super::jobs::{self, Job, Lab, Soft};
use super::plan::Plan;
use super::report::Verdict;
use crate::cache::Cache;
use crate::guests::Guests;
use crate::process;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One job on this host.
#[derive(clap::Args)]
pub struct Arguments {
    /// The job's name.
    name: String,
    /// Its own folder, which holds its plan.
    folder: PathBuf,
}

/// The jobs that can run here.
pub fn jobs() -> impl Iterator<Item = &'static Job> {
    jobs::all().iter().filter(|job| job.soft != Soft::No)
}

/// Runs `job` in a process of its own and says what became of it.
pub fn run(job: &Job, yagura: &Path, guests: Guests) -> Result<Verdict> {
    let namespace = match job.soft {
        Soft::WithNetwork => match namespace() {
            Some(command) => Some(command),
            None => {
                return Ok(Verdict::Skipped("network namespaces with a tap are not permitted".to_owned()));
            }
        },
        _ => None,
    };
    let folder = tempfile::tempdir()?;
    let plan = Plan::new(&[job], Some(yagura.to_owned()), Some(guests))?;
    let others = super::prepare_others(&Cache::open()?, &[job])?;
    let plan = Plan { tests: super::build_tests(&[job])?, others, ..plan };
    plan.write_to(&plan_in(folder.path()))?;
    let limit = plan.limit(job.limit_seconds);
    let us = std::env::current_exe()?;
    let mut command = match namespace {
        Some(mut command) => {
            command.arg(us);
            command
        }
        None => process::bound_to_us(us),
    };
    agent::judge(command.args(["soft-job", job.name]).arg(folder.path()), limit)
}

/// Does the job, in the process made for it.
pub fn run_job(arguments: &Arguments) -> Result<()> {
    let plan = Plan::read_from(&plan_in(&arguments.folder))?;
    Job::named(&arguments.name)?.run_in(&Lab::here(&arguments.folder, plan))
}

fn plan_in(folder: &Path) -> PathBuf {
    folder.join("plan.json")
}

/// What runs a program in a new network namespace, where this user may make one and a tap in it.
fn namespace() -> Option<Command> {
    let root = rustix::process::geteuid().is_root();
    let command = || {
        let mut command = process::bound_to_us("unshare");
        command.arg("--net").args((!root).then_some("--map-root-user")).arg("--");
        command
    };
    let tap = ["ip", "tuntap", "add", "dev", "probe0", "mode", "tap"];
    process::run(command().args(tap)).ok().map(|()| command())
}
