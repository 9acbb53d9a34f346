//! The KVM engine's own tests, where hardware stands behind KVM.

use super::{Job, Lab, MONITOR, Outcome};
use crate::process;
use anyhow::{Context, Result, ensure};
use std::process::Command;

/// This theme's jobs.
pub const JOBS: &[Job] = &[Job {
    name: "engine-tests",
    about: "the KVM engine's own tests, none of them skipped",
    quick: true,
    yagura: false,
    engine_tests: true,
    limit_seconds: 90,
    run: engine_tests,
    ..MONITOR
}];

fn engine_tests(lab: &Lab) -> Result<Outcome> {
    let tests = lab.local(lab.plan.engine_tests.as_deref().context("this job asked for no tests")?)?;
    // A guest that hangs is to show which test it was.
    let seconds = lab.limit(60).as_secs().to_string();
    let mut command = Command::new("timeout");
    let text = process::output(command.arg(seconds).arg(tests).args(["--nocapture", "--test-threads=1"]))?;
    if let Some(line) = text.lines().find(|line| line.contains("SKIPPED")) {
        anyhow::bail!("with hardware behind KVM nothing is skipped: {line}");
    }
    let result = text.lines().find(|line| line.starts_with("test result: ok."));
    println!("{}", result.context("the tests did not say how they ended")?);
    ensure!(text.contains("hardware: Present"), "the probe does not find the hardware");
    Ok(Outcome::Passed)
}
