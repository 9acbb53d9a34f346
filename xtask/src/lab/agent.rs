//! The lab's first process, inside the machine: runs each job as a process of its own, and watches the time.

use super::jobs::{FIGURE, Job, Lab, SKIPPED};
use super::plan::Plan;
use super::report::{END, LATE, RUN, START, Verdict};
use crate::process;
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);
/// How long a sleep is that shows whether timers come in time, and how many there are.
const SLEEP: Duration = Duration::from_millis(20);
const SLEEPS: u32 = 5;
/// Lines of a failed job's output that are repeated on the console. The suite of system semantics writes one for each
/// case that differs, and has some ten thousand.
const TAIL_LINES: usize = 12_000;

/// The agent takes no arguments: its plan is in a file.
#[derive(clap::Args)]
pub struct Arguments {}

/// One job.
#[derive(clap::Args)]
pub struct JobArguments {
    /// The job's name.
    name: String,
}

/// Runs the plan, then ends the machine.
pub fn run(_: &Arguments) -> Result<()> {
    if let Err(error) = run_plan() {
        println!("LAB NOTE {error:#}");
    }
    rustix::system::reboot(rustix::system::RebootCommand::Restart).context("cannot end the machine")
}

/// Runs one job.
pub fn run_job(arguments: &JobArguments) -> Result<()> {
    let job = Job::named(&arguments.name)?;
    std::fs::create_dir_all(cgroup(job.name))?;
    std::fs::write(cgroup(job.name).join("cgroup.procs"), "0")?;
    job.run_in(&Lab::new(job.name, Plan::read()?)?)
}

fn run_plan() -> Result<()> {
    let plan = Plan::read()?;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    println!("{START} Linux {}", release.trim());
    process::run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    for name in &plan.jobs {
        if let Some(took) = late_sleep() {
            println!("{LATE} a sleep of {} ms takes {} ms", SLEEP.as_millis(), took.as_millis());
            return Ok(());
        }
        println!("{RUN} {name}");
        let verdict =
            verdict(&plan, name).unwrap_or_else(|error| Verdict::Failed(one_line(&format!("{error:#}"))));
        println!("{}", verdict.line(name));
    }
    println!("{END}");
    Ok(())
}

/// The timers of an emulated machine may be late from its start, where the host was loaded then, or come to be so; and
/// guests in it then stand still.
/// Busy processors delay some sleeps; wrong timers delay all of them. The shortest of some sleeps, if it is too long.
fn late_sleep() -> Option<Duration> {
    let sleeps = (0..SLEEPS).map(|_| {
        let began = Instant::now();
        std::thread::sleep(SLEEP);
        began.elapsed()
    });
    sleeps.min().filter(|shortest| *shortest > SLEEP * 2)
}

fn verdict(plan: &Plan, name: &str) -> Result<Verdict> {
    let limit = plan.limit(Job::named(name)?.limit_seconds);
    let mut command = Command::new("/proc/self/exe");
    let verdict = judge(command.args(["lab-job", name]), limit);
    let _ = std::fs::write(cgroup(name).join("cgroup.kill"), "1");
    verdict
}

/// Runs the process of a job for `limit` at most, and shows the end of what a failed one said, and the
/// figures of one that passed.
pub fn judge(command: &mut Command, limit: Duration) -> Result<Verdict> {
    let output = tempfile::NamedTempFile::new()?;
    command.stdin(Stdio::null()).stdout(output.as_file().try_clone()?).stderr(output.as_file().try_clone()?);
    let status = wait(&mut command.spawn()?, limit)?;
    let text = String::from_utf8_lossy(&std::fs::read(output.path())?).into_owned();
    let last = one_line(text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default());
    Ok(match status {
        Some(status) if status.success() => {
            for figure in text.lines().filter_map(|line| line.strip_prefix(FIGURE)) {
                println!("    {figure}");
            }
            Verdict::Passed
        }
        Some(status) if status.code() == Some(i32::from(SKIPPED)) => Verdict::Skipped(last),
        failed => {
            for line in process::tail(&text, TAIL_LINES).lines() {
                println!("    {line}");
            }
            Verdict::Failed(
                failed.map_or("it took too long".to_owned(), |status| format!("{status}: {last}")),
            )
        }
    })
}

/// The control group in which a job and all that it starts live, to be ended together.
fn cgroup(job: &str) -> PathBuf {
    PathBuf::from("/sys/fs/cgroup").join(job)
}

/// The child's status, or nothing when the time is over; then the child is killed.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(POLL);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}
