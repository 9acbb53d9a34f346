//! `cargo xtask test`: everything that has to hold before a commit, in order, with a count at the end.
//!
//! A test says that this machine cannot run it by printing a line `SKIPPED: <reason>` to its standard output
//! and returning; it is then counted as skipped, not as passed. A test that is `#[ignore]`d runs under `--all`.

mod cargo_test;
mod extras;
mod nextest;
mod tally;
mod tee;

use crate::lab::Verdict;
use crate::{lab, packages, process, soft, tidy, workspace};
use anyhow::{Result, ensure};
use std::process::Command;
use std::time::Instant;
use tally::Tally;

/// What a test prints when this machine cannot run it, before the reason.
const SKIPPED: &str = "SKIPPED: ";

/// How much to test.
#[derive(clap::Args)]
pub struct Arguments {
    /// Run what is slow, too: every lab job, ignored tests, cargo-deny, fuzz corpora, benches.
    #[arg(long)]
    all: bool,
    /// Run this step only; can be given several times. Together the steps are the whole run.
    #[arg(long = "step", value_name = "NAME", value_parser = step_names())]
    steps: Vec<String>,
}

impl Arguments {
    /// The steps that are wanted, in order.
    fn chosen(&self) -> impl Iterator<Item = &'static Step> {
        let slow = if self.all { SLOW_STEPS } else { &[] };
        let wanted = |(name, _): &&Step| self.steps.is_empty() || self.steps.iter().any(|step| step == name);
        STEPS.iter().chain(slow).filter(wanted)
    }
}

/// A step: its name, and what it does and counts.
type Step = (&'static str, fn(bool, &mut Tally) -> Result<()>);

const STEPS: &[Step] = &[
    ("format", format),
    ("clippy", clippy),
    ("tidy", |_, tally| single(tally, "tidy", tidy::run_tree())),
    ("tests", tests),
    ("executable", |_, tally| single(tally, "executable", tidy::run_executable())),
    ("soft", soft_sessions),
    ("lab", lab_jobs),
];

const SLOW_STEPS: &[Step] = &[("deny", extras::deny), ("fuzz", extras::fuzz), ("bench", extras::bench)];

/// What `--step` takes. A step that belongs to `--all` runs only with it.
fn step_names() -> Vec<&'static str> {
    STEPS.iter().chain(SLOW_STEPS).map(|(name, _)| *name).collect()
}

/// Runs the steps, whatever becomes of the ones before, and ends with the count.
///
/// # Errors
/// A step is named that only `--all` has, or tools for building are missing.
pub fn run(arguments: &Arguments) -> Result<()> {
    let steps: Vec<&Step> = arguments.chosen().collect();
    for step in &arguments.steps {
        ensure!(
            steps.iter().any(|(name, _)| name == step),
            "the step {step} is one of `cargo xtask test --all`"
        );
    }
    packages::require(&[packages::BUILD])?;
    let tools = [packages::TESTS, packages::LAB, packages::JOBS, packages::GUESTS];
    match packages::require(&tools) {
        Err(error) if error.is::<packages::Missing>() => println!("some tests will be skipped: {error}"),
        outcome => outcome?,
    }
    let mut tally = Tally::default();
    for (name, step) in steps {
        println!("=== {name}");
        let started = Instant::now();
        let failed_before = tally.failed.len();
        if let Err(error) = step(arguments.all, &mut tally) {
            println!("{error:#}");
            // A step whose own tests failed is counted by them.
            if tally.failed.len() == failed_before {
                tally.fail(*name, "it did not run to its end");
            }
        }
        let result = if tally.failed.len() == failed_before { "ok" } else { "FAILED" };
        tally.step(name, result, started.elapsed());
        println!("=== {name}: {result} ({:.1} s)", started.elapsed().as_secs_f64());
    }
    print!("\n{tally}");
    // The count is the last line; the exit status says the same.
    if tally.failed.is_empty() { Ok(()) } else { std::process::exit(1) }
}

/// Counts a step that is one test.
fn single(tally: &mut Tally, name: &str, outcome: Result<()>) -> Result<()> {
    if outcome.is_ok() {
        tally.passed += 1;
    }
    outcome.inspect_err(|error| tally.fail(name, &format!("{error:#}")))
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = workspace::cargo();
    command.args(arguments);
    command
}

fn format(_: bool, tally: &mut Tally) -> Result<()> {
    single(tally, "format", tee::run(&mut cargo(&["fmt", "--all", "--check"])).map(drop))
}

fn clippy(_: bool, tally: &mut Tally) -> Result<()> {
    let arguments = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
    single(tally, "clippy", tee::run(&mut cargo(&arguments)).map(drop))
}

fn tests(all: bool, tally: &mut Tally) -> Result<()> {
    if process::find("cargo-nextest").is_some() {
        nextest::run(all, tally)
    } else {
        cargo_test::run(all, tally)
    }
}

fn soft_sessions(all: bool, tally: &mut Tally) -> Result<()> {
    let mut last = Ok(());
    for session in soft::for_test(all) {
        let name = format!("soft {}", session.name());
        let outcome = match soft::hold(session) {
            Err(error) if error.is::<packages::Missing>() => {
                tally.skip(name, &error.to_string());
                continue;
            }
            Ok(Verdict::Skipped(why)) => {
                tally.skip(name, &why);
                continue;
            }
            Ok(Verdict::Failed(why)) => Err(anyhow::anyhow!(why)),
            outcome => outcome.map(drop),
        };
        last = single(tally, &name, outcome).and(last);
    }
    last
}

fn lab_jobs(all: bool, tally: &mut Tally) -> Result<()> {
    let report = match lab::run_for_test(all) {
        Err(error) if error.is::<packages::Missing>() => {
            for name in lab::names_for_test(all) {
                tally.skip(format!("lab {name}"), &error.to_string());
            }
            return Ok(());
        }
        report => report?,
    };
    for job in &report.verdicts {
        tally.lab_job(job);
    }
    ensure!(report.failed() == 0, "{report}");
    println!("{report}");
    Ok(())
}
