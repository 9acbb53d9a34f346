//! `cargo xtask lab`: real hardware semantics on any machine.
//!
//! QEMU emulates a processor with AMD-V; Debian's kernel in it (L1) offers a KVM that runs unmodified guests
//! (L2). L1 sees the host's files read-only, so that what was built here runs there. One L1 serves a group
//! of jobs:
//!
//! ```text
//! host: cargo xtask lab ── QEMU ── L1: xtask lab-agent ── xtask lab-job NAME ── yagura ── L2: a guest
//!             └──────────── serial console: LAB PASS / LAB FAIL / LAB END ◄──────────┘
//! ```

pub mod agent;
pub mod console;
mod control;
pub mod guest;
pub mod here;
mod jobs;
mod l1;
mod plan;
mod report;

pub use jobs::Job;
pub use report::{Finished, Report, Verdict};

use crate::{cache::Cache, guests, packages, progress, workspace};
use anyhow::{Result, bail, ensure};
use jobs::Group;
use plan::Plan;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Which jobs to run, and in what machine.
#[derive(clap::Args)]
pub struct Arguments {
    /// Processors of the lab's machine, instead of what each group of jobs asks for.
    #[arg(long)]
    cpus: Option<u32>,
    /// Load KVM without nested paging, instead of what each group of jobs asks for.
    #[arg(long)]
    npt0: bool,
    /// Run this job only; can be given several times.
    #[arg(long = "job", value_name = "NAME")]
    jobs: Vec<String>,
    /// Run only the jobs that `cargo xtask test` runs.
    #[arg(long)]
    quick: bool,
    /// Name the jobs and end.
    #[arg(long)]
    list: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    if arguments.list {
        for job in jobs::in_lab() {
            let quick = if job.quick { "quick" } else { "" };
            println!("{:<22} {:<6} {:<6} {}", job.name, job.group.name(), quick, job.about);
        }
        return Ok(());
    }
    let machine = (arguments.npt0 || arguments.cpus.is_some())
        .then(|| Group { cpus: arguments.cpus.unwrap_or(1), npt: !arguments.npt0 });
    let chosen = choose(&arguments.jobs, arguments.quick)?;
    let report = run_jobs(&chosen, machine)?;
    println!("{report}");
    ensure!(report.failed() == 0, "{} of {} lab jobs failed", report.failed(), report.verdicts.len());
    Ok(())
}

/// Runs the jobs that belong to a test run: the quick ones, or all. An emulated machine stands still for half a
/// minute now and then, whatever runs in it; so a job that fails has one more try in a fresh machine, and a
/// pass at that try is told.
pub fn run_for_test(all: bool) -> Result<Report> {
    let mut report = run_jobs(&choose(&[], !all)?, None)?;
    let failed: Vec<String> = report.failures().map(|job| job.job_name().to_owned()).collect();
    if failed.is_empty() {
        return Ok(report);
    }
    println!("lab: one more try for {}", failed.join(", "));
    let again = run_jobs(&choose(&failed, false)?, None)?;
    for second in again.verdicts {
        if let Some(first) = report.verdicts.iter_mut().find(|first| first.name == second.name) {
            println!("lab: {} at its first try: {first}", second.name);
            *first = second;
        }
    }
    Ok(report)
}

/// Names of those jobs.
pub fn names_for_test(all: bool) -> impl Iterator<Item = &'static str> {
    jobs::in_lab().filter(move |job| all || job.quick).map(|job| job.name)
}

fn choose(names: &[String], quick: bool) -> Result<Vec<&'static Job>> {
    for name in names {
        if !jobs::in_lab().any(|job| job.name == name) {
            bail!("there is no lab job named {name}; --list names them");
        }
    }
    let wanted =
        |job: &&Job| names.iter().any(|name| name == job.name) || names.is_empty() && (job.quick || !quick);
    Ok(jobs::in_lab().filter(wanted).collect())
}

/// Builds the tests that jobs run, each executable by its job's name.
fn build_tests(chosen: &[&Job]) -> Result<BTreeMap<String, PathBuf>> {
    let build = |tests: jobs::Tests| workspace::build_tests(tests.package, tests.target, tests.optimized);
    let wanted = chosen.iter().filter_map(|job| Some((job.name, job.tests?)));
    wanted.map(|(name, tests)| Ok((name.to_owned(), build(tests)?))).collect()
}

/// Other kernels, where one of these jobs boots them.
fn prepare_others(cache: &Cache, chosen: &[&Job]) -> Result<Option<guests::Others>> {
    chosen.iter().any(|job| job.others).then(|| guests::prepare_others(cache)).transpose()
}

/// Runs `chosen` in as few machines as they can share; `machine` overrides what the jobs ask for.
fn run_jobs(chosen: &[&Job], machine: Option<Group>) -> Result<Report> {
    packages::require(&[packages::LAB, packages::JOBS, packages::GUESTS])?;
    let cache = Cache::open()?;
    let material = guests::prepare_lab(&cache)?;
    let monitor = chosen.iter().any(|job| job.yagura);
    let yagura = monitor.then(workspace::build_yagura).transpose()?;
    let guests = monitor.then(|| guests::prepare(&cache)).transpose()?;
    let others = prepare_others(&cache, chosen)?;
    let tests = build_tests(chosen)?;
    let mut groups: Vec<Group> = chosen.iter().map(|job| machine.unwrap_or(job.group)).collect();
    groups.sort_unstable();
    groups.dedup();
    let mut report = Report::default();
    for group in groups {
        let members: Vec<&Job> =
            chosen.iter().filter(|job| machine.unwrap_or(job.group) == group).copied().collect();
        let plan = Plan::new(&members, yagura.clone(), guests.clone())?;
        let plan = Plan { tests: tests.clone(), others: others.clone(), ..plan };
        let step = progress::step(format!("lab, {}: {} jobs", group.name(), members.len()));
        report.verdicts.extend(l1::run(&material, group, plan, &members, &step)?);
        step.done();
    }
    Ok(report)
}
