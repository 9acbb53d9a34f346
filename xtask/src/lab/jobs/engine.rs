//! Tests of engines, where hardware stands behind KVM.

use super::{Job, Lab, MONITOR, Outcome, Soft, Tests};
use crate::lab::plan::CASES;
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;
use std::process::Command;

/// This theme's jobs.
pub const JOBS: &[Job] = &[
    Job {
        name: "engine-tests",
        about: "the KVM engine's own tests, none of them skipped",
        quick: true,
        yagura: false,
        tests: Some(Tests { package: "kvm_engine", target: &["--lib"], optimized: false }),
        limit_seconds: 90,
        run: engine_tests,
        ..MONITOR
    },
    Job {
        name: "semantics",
        about: "every case of system semantics, by KVM as by the manual",
        yagura: false,
        tests: Some(Tests { package: "engine_suite", target: &["--test", "semantics_kvm"], optimized: true }),
        limit_seconds: 1300,
        run: semantics,
        ..MONITOR
    },
    Job {
        name: "exchange",
        about: "half a program on one engine, half on the other, both ways",
        quick: true,
        yagura: false,
        tests: Some(Tests { package: "engine_suite", target: &["--test", "round_trip"], optimized: false }),
        limit_seconds: 120,
        run: |lab| run_tests(lab, "exchange", &[], 100).map(|_| Outcome::Passed),
        ..MONITOR
    },
    Job {
        name: "exchange-linux",
        about: "half of Linux's life on one engine, half on the other, both ways",
        tests: Some(Tests { package: "engine_suite", target: &["--test", "linux"], optimized: true }),
        soft: Soft::Yes,
        limit_seconds: 1000,
        run: exchange_linux,
        ..MONITOR
    },
    Job {
        name: "another-life",
        about: "Linux goes on from a snapshot, a minute and a month later",
        tests: Some(Tests { package: "engine_suite", target: &["--test", "linux"], optimized: true }),
        others: true,
        soft: Soft::Yes,
        limit_seconds: 500,
        run: another_life,
        ..MONITOR
    },
];

fn engine_tests(lab: &Lab) -> Result<Outcome> {
    let text = run_tests(lab, "engine-tests", &[], 60)?;
    ensure!(text.contains("hardware: Present"), "the probe does not find the hardware");
    Ok(Outcome::Passed)
}

fn semantics(lab: &Lab) -> Result<Outcome> {
    let text = run_tests(lab, "semantics", &["kvm_does"], 1200)?;
    let cases = text.lines().find(|line| line.contains("cases apply to a vCPU"));
    println!("{}", cases.context("the suite did not say how many cases it ran")?);
    text.lines().filter(|line| line.contains("differ as is known")).for_each(|line| println!("{line}"));
    Ok(Outcome::Passed)
}

fn exchange_linux(lab: &Lab) -> Result<Outcome> {
    // On the software engine alone: from one of its machines to another.
    let filter: &[&str] = if lab.engine() == "soft" { &["soft_to_soft"] } else { &["kvm"] };
    run_tests(lab, "exchange-linux", filter, 980).map(|_| Outcome::Passed)
}

fn another_life(lab: &Lab) -> Result<Outcome> {
    let filter = if lab.engine() == "soft" { "another_life::software" } else { "another_life::hardware" };
    // The guests' own kernel knows of no other life.
    let others = lab.others()?;
    let kernel = Some((others.generic.as_path(), others.initrd.as_path()));
    run_tests_with(lab, "another-life", &[filter], 480, kernel).map(|_| Outcome::Passed)
}

/// Runs a job's tests, those whose names hold `filter` if it is given, and returns what they print.
fn run_tests(lab: &Lab, job: &str, filter: &[&str], limit_seconds: u64) -> Result<String> {
    let guests = lab.plan.guests.as_ref();
    let kernel = guests.map(|guests| (guests.vmlinux.as_path(), guests.initrd.as_path()));
    run_tests_with(lab, job, filter, limit_seconds, kernel)
}

/// The same with a kernel and an archive of its own for tests that boot one.
fn run_tests_with(
    lab: &Lab,
    job: &str,
    filter: &[&str],
    limit_seconds: u64,
    kernel: Option<(&Path, &Path)>,
) -> Result<String> {
    let tests = lab.local(lab.plan.tests.get(job).context("this job asked for no tests")?)?;
    // A guest that hangs is to show which test it was.
    let seconds = lab.limit(limit_seconds).as_secs().to_string();
    let mut command = Command::new("timeout");
    command.arg(seconds).arg(tests).args(filter).args(["--nocapture", "--test-threads=1"]);
    // Where a test ends QEMU, the end of its console is all that is left.
    command.env("YAGURA_PROGRESS", "/dev/console");
    if let Some(cases) = &lab.plan.cases {
        command.env(CASES, cases);
    }
    if let Some((kernel, initrd)) = kernel {
        command.env("YAGURA_KERNEL", lab.local(kernel)?);
        command.env("YAGURA_INITRD", lab.local(initrd)?);
    }
    let ended = command.stderr(std::io::stdout()).output().context("cannot run the tests")?;
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    if !ended.status.success() {
        println!("{text}");
        bail!("the tests ended with {}", ended.status);
    }
    if let Some(line) = text.lines().find(|line| line.contains("SKIPPED")) {
        bail!("with hardware behind KVM nothing is skipped: {line}");
    }
    text.lines().filter(|line| line.contains(" rounds on the first")).for_each(|line| println!("{line}"));
    let result = text.lines().find(|line| line.starts_with("test result: ok."));
    println!("{}", result.context("the tests did not say how they ended")?);
    Ok(text)
}
