//! The lab's machine: QEMU, its console, and the time that it may take.

use super::jobs::{Group, Job};
use super::plan::Plan;
use super::report::{END, Finished, LATE, RUN, START, Verdict};
use crate::{guests, process, progress::Step};
use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Time for the machine to come up.
const BOOT_SECONDS: u64 = 90;
/// A machine that says nothing and uses no processor at all over such a time has lost an interrupt, which QEMU's AMD-V
/// does now and then on a busy host. One that waits for something ticks.
const STILL: Duration = Duration::from_secs(30);
/// Time beyond a job's own limit, which the agent watches from inside.
const GRACE: Duration = Duration::from_secs(20);
/// Lines of the console that are shown when the machine itself goes wrong.
const TAIL_LINES: usize = 40;
/// Lines of QEMU's own messages that are shown then.
const ERROR_LINES: usize = 12;

/// Machines that are started, at most, until one's timers come in time for a job.
const STARTS: u32 = 4;

const MEMORY_MIB: u32 = 3072;

const KERNEL_ARGUMENTS: &str = "console=ttyS0 panic=-1 mitigations=off quiet loglevel=1 nokaslr tsc=reliable no_timer_check \
    cryptomgr.notests random.trust_cpu=on";

/// A started machine; ends with this value.
pub struct Machine {
    child: Child,
    // The archive has to stay until QEMU has read it.
    _initrd: tempfile::NamedTempFile,
    errors: tempfile::NamedTempFile,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the machine with its console on QEMU's standard input and output.
fn start(material: &guests::Lab, group: Group, plan: &Plan, console: (Stdio, Stdio)) -> Result<Machine> {
    let mut archive = std::fs::read(&material.initrd)?;
    archive.extend(plan.archive()?);
    let initrd = tempfile::NamedTempFile::new()?;
    std::fs::write(initrd.path(), archive)?;
    let errors = tempfile::NamedTempFile::new()?;
    let npt = u32::from(group.npt);
    let mut command = process::bound_to_us("qemu-system-x86_64");
    command.args(["-nodefaults", "-display", "none", "-no-reboot", "-M", "q35"]);
    command.args(["-serial", "stdio"]);
    command.args(["-m", &MEMORY_MIB.to_string(), "-smp", &group.cpus.to_string()]);
    command.args(["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "EPYC,+svm,+npt"]);
    command.arg("-kernel").arg(&material.vmlinux).arg("-initrd").arg(initrd.path());
    command.arg("-append").arg(format!("{KERNEL_ARGUMENTS} lab.npt={npt}"));
    command.args(["-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"]);
    if let Some(guests) = &plan.guests {
        // Jobs copy the disk image from here: virtio-blk is quicker than 9p.
        let drive = format!("if=virtio,format=raw,readonly=on,file={}", guests.debian.display());
        command.arg("-drive").arg(drive);
    }
    command.stdin(console.0).stdout(console.1).stderr(errors.reopen()?);
    let child = command.spawn().with_context(|| format!("cannot run {}", process::shown(&command)))?;
    Ok(Machine { child, _initrd: initrd, errors })
}

/// Boots the machine, lets it run the plan's jobs, and tells what became of them. A machine whose timers are late is
/// given up for a fresh one, which runs what is left.
pub fn run(
    material: &guests::Lab,
    group: Group,
    mut plan: Plan,
    jobs: &[&Job],
    step: &Step,
) -> Result<Vec<Finished>> {
    let mut left = jobs.to_vec();
    let mut finished: Vec<Finished> = Vec::new();
    let mut starts = 0;
    loop {
        starts += 1;
        let some = match run_once(material, group, &plan, &left, step)? {
            Ended::Jobs(rest) => {
                finished.extend(rest);
                return Ok(finished);
            }
            Ended::Late(some) if some.is_empty() => ensure_again(starts).map(|()| some)?,
            Ended::Late(some) => {
                starts = 0;
                some
            }
        };
        left.retain(|job| !some.iter().any(|done| done.job_name() == job.name));
        plan.jobs = left.iter().map(|job| job.name.to_owned()).collect();
        finished.extend(some);
        step.line("the lab's machine is started anew");
    }
}

fn ensure_again(starts: u32) -> Result<()> {
    ensure!(starts < STARTS, "the lab's machine had late timers {STARTS} times in a row");
    Ok(())
}

/// How a machine ended.
enum Ended {
    /// With a verdict for each job.
    Jobs(Vec<Finished>),
    /// Before one of them: its timers are late. With verdicts for those before.
    Late(Vec<Finished>),
}

fn run_once(material: &guests::Lab, group: Group, plan: &Plan, jobs: &[&Job], step: &Step) -> Result<Ended> {
    let mut machine = start(material, group, plan, (Stdio::null(), Stdio::piped()))?;
    let output = machine.child.stdout.take().context("QEMU has no output")?;
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned()).is_err() {
                break;
            }
        }
    });
    let mut watch = Watch {
        process: machine.child.id(),
        lines,
        group,
        plan,
        jobs,
        step,
        seen: Vec::new(),
        finished: Vec::new(),
        verdicts: Vec::new(),
    };
    match watch.until_end() {
        Ok(true) => Ok(Ended::Jobs(watch.finished)),
        Ok(false) => Ok(Ended::Late(watch.finished)),
        Err(error) => {
            let errors = std::fs::read_to_string(machine.errors.path()).unwrap_or_default();
            let tail = process::tail(&watch.seen.join("\n"), TAIL_LINES);
            // QEMU says why it gave up before it shows all registers.
            let qemu: Vec<&str> = errors.lines().take(ERROR_LINES).collect();
            watch
                .step
                .line(&format!("--- console of the lab's machine\n{tail}\n--- QEMU\n{}", qemu.join("\n")));
            watch.fail_the_rest(&format!("{error:#}"));
            Ok(Ended::Jobs(watch.finished))
        }
    }
}

/// Processor time of a process, in the kernel's ticks (proc_pid_stat(5), `utime` and `stime`).
fn processor_ticks(process: u32) -> Result<u64> {
    let path = format!("/proc/{process}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_ascii_whitespace();
    let ticks = fields.skip(14 - 3).take(2).map(str::parse::<u64>);
    ticks.sum::<Result<u64, _>>().with_context(|| format!("{path} is of another kind"))
}

struct Watch<'a> {
    process: u32,
    lines: Receiver<String>,
    group: Group,
    plan: &'a Plan,
    jobs: &'a [&'a Job],
    step: &'a Step,
    seen: Vec<String>,
    finished: Vec<Finished>,
    verdicts: Vec<String>,
}

impl Watch<'_> {
    /// Follows the console to the end marker; false if the machine ended because its timers are late, or stands still.
    fn until_end(&mut self) -> Result<bool> {
        let mut deadline = Instant::now() + self.plan.limit(BOOT_SECONDS);
        let mut began = Instant::now();
        self.step.at("starting the machine");
        loop {
            let Some(line) = self.next_line(deadline)? else {
                self.step.line("the lab's machine stands still");
                return Ok(false);
            };
            if let Some((name, verdict)) = Verdict::parse(&line) {
                self.finish(name, began.elapsed(), verdict);
            } else if let Some(name) = line.strip_prefix(RUN) {
                let limit =
                    self.jobs.iter().find(|job| job.name == name.trim()).map_or(0, |job| job.limit_seconds);
                began = Instant::now();
                deadline = began + self.plan.limit(limit) + GRACE;
                self.step.at(name.trim());
            } else if line.starts_with(START) {
                self.step.line(&format!("{} ({:.1} s to start)", line.trim(), began.elapsed().as_secs_f64()));
                deadline = Instant::now() + GRACE;
            } else if line.starts_with(END) {
                return self.check_complete().map(|()| true);
            } else if line.starts_with(LATE) {
                self.step.line(&line);
                return Ok(false);
            } else if line.starts_with("LAB ") || line.starts_with("    ") {
                self.step.line(&line);
            }
            self.seen.push(line);
        }
    }

    /// The console's next line; nothing if the machine has stopped without an end.
    fn next_line(&self, deadline: Instant) -> Result<Option<String>> {
        let mut ticks = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left.min(STILL)) {
                Ok(line) => return Ok(Some(line)),
                Err(RecvTimeoutError::Disconnected) => bail!("the lab's machine ended before its end marker"),
                Err(RecvTimeoutError::Timeout) if left <= STILL => bail!("the lab's machine took too long"),
                Err(RecvTimeoutError::Timeout) => {
                    let before = ticks.replace(processor_ticks(self.process)?);
                    if before.is_some() && before == ticks {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn check_complete(&self) -> Result<()> {
        match self.missing().next() {
            Some(job) => bail!("the lab's machine said nothing of {job}"),
            None => Ok(()),
        }
    }

    fn missing(&self) -> impl Iterator<Item = &'static str> {
        self.jobs.iter().map(|job| job.name).filter(|name| !self.verdicts.iter().any(|seen| seen == name))
    }

    fn fail_the_rest(&mut self, why: &str) {
        let names: Vec<&str> = self.missing().collect();
        for name in names {
            self.finish(name, Duration::ZERO, Verdict::Failed(why.to_owned()));
        }
    }

    fn finish(&mut self, name: &str, took: Duration, verdict: Verdict) {
        self.verdicts.push(name.to_owned());
        let name = match self.group.name().as_str() {
            "plain" => name.to_owned(),
            group => format!("{name}@{group}"),
        };
        let finished = Finished { name, took, verdict };
        self.step.line(&finished.to_string());
        self.finished.push(finished);
    }
}
