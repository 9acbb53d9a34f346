//! One guest of one monitor: its cases one after the other, fio's figures, and the monitor's CPU time for each.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::cases::{BEGIN, Case, END, Format};
use crate::bench::contestant::{self, Contestant, Guest, Lines};

/// Time for a guest to come up and to power off, on a busy machine too.
const BOOT: Duration = Duration::from_secs(60);
/// Time for a case beyond what it is given.
const EACH: Duration = Duration::from_secs(10);

/// What one case came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Throughput, in MiB a second.
    pub mib_s: f64,
    /// Requests a second.
    pub requests_s: f64,
    /// CPU time of the monitor's process, its guest's included, for a request, in microseconds.
    pub cpu_us: f64,
}

/// A disk as a monitor is told of it.
pub struct Attached<'a> {
    pub path: &'a Path,
    pub format: Format,
    pub read_only: bool,
    pub serial: &'a str,
}

/// Adds disks to a monitor's command: one queue each; the host's page cache is used, and the guest's flushes count.
pub fn attach(command: &mut Command, contestant: &Contestant, disks: &[Attached]) {
    for (index, Attached { path, format, read_only, serial }) in disks.iter().enumerate() {
        let (path, format) = (path.display(), format.name());
        match contestant {
            Contestant::Yagura { .. } => {
                let read_only = if *read_only { ",readonly" } else { "" };
                command.arg("--disk").arg(format!("path={path},format={format},serial={serial}{read_only}"));
            }
            Contestant::Tcg { .. } => {
                let read_only = if *read_only { "on" } else { "off" };
                command.arg("-object").arg(format!("iothread,id=thread{index}")).arg("-drive").arg(format!(
                    "if=none,id=disk{index},file={path},format={format},cache=writeback,aio=io_uring,\
                    discard=unmap,readonly={read_only}"
                ));
                command.arg("-device").arg(format!(
                    "virtio-blk-pci,drive=disk{index},iothread=thread{index},num-queues=1,serial={serial}"
                ));
            }
        }
    }
}

/// Runs a guest with these disks and returns a sample for each case. fio's report is left in `notes`, one of the disks.
pub fn run(
    contestant: &Contestant,
    guest: &Guest,
    disks: &[Attached],
    notes: &Path,
    cases: &[Case],
    millis: u32,
) -> Result<Vec<Sample>> {
    let mut command = contestant.command(guest);
    attach(&mut command, contestant, disks);
    let mut lines = Lines::start(command)?;
    let each = EACH + Duration::from_millis(u64::from(millis));
    let deadline = contestant::within(BOOT + each * cases.len() as u32);
    let mut cpu = CpuTimes::default();
    while let Some((_, line)) = lines.next(deadline)? {
        cpu.hear(&line, || lines.cpu_seconds())?;
    }
    let samples = report(notes).and_then(|report| samples(&report, &cpu, cases));
    let samples = samples.map_err(|error| error.context(lines.complain("measured nothing that counts")))?;
    lines.finish(deadline)?;
    Ok(samples)
}

/// What fio wrote to the disk of notes: words about itself, then JSON, and zeros to the end.
fn report(notes: &Path) -> Result<Value> {
    let text = fs::read(notes).with_context(|| format!("cannot read {}", notes.display()))?;
    let text = String::from_utf8_lossy(&text);
    let begin = text.find("\n{").context("fio left no report")?;
    serde_json::from_str(text[begin..].trim_end_matches('\0')).context("fio's report is no JSON")
}

/// CPU seconds of the monitor at the beginnings and between beginning and end of jobs, by job.
#[derive(Default)]
struct CpuTimes {
    begun: BTreeMap<String, f64>,
    used: BTreeMap<String, f64>,
}

impl CpuTimes {
    /// Takes a line of the console.
    fn hear(&mut self, line: &str, now: impl Fn() -> Result<f64>) -> Result<()> {
        if let Some(job) = line.strip_prefix(BEGIN) {
            self.begun.insert(job.to_owned(), now()?);
        } else if let Some(job) = line.strip_prefix(END) {
            let begun = self.begun.get(job).with_context(|| format!("{job} ended and never began"))?;
            self.used.insert(job.to_owned(), now()? - begun);
        }
        Ok(())
    }
}

/// A sample for each case, out of fio's report.
fn samples(report: &Value, cpu: &CpuTimes, cases: &[Case]) -> Result<Vec<Sample>> {
    let jobs = report["jobs"].as_array().context("fio reports no jobs")?;
    let sample = |case: &Case| {
        let name = case.job();
        let job = jobs.iter().find(|job| job["jobname"] == name.as_str());
        let job = job.with_context(|| format!("fio reports no {name}"))?;
        ensure!(job["error"] == 0, "fio's {name} failed with error {}", job["error"]);
        let side = &job[if case.pattern.is_write() { "write" } else { "read" }];
        let figure = |key: &str| side[key].as_f64().with_context(|| format!("{name} has no {key}"));
        let (requests, bytes, seconds) =
            (figure("total_ios")?, figure("io_bytes")?, figure("runtime")? / 1e3);
        ensure!(requests > 0.0 && seconds > 0.0, "fio's {name} did nothing");
        let cpu_seconds = cpu.used.get(&name).with_context(|| format!("{name} did not begin and end"))?;
        Ok(Sample {
            mib_s: bytes / f64::from(1 << 20) / seconds,
            requests_s: requests / seconds,
            cpu_us: cpu_seconds * 1e6 / requests,
        })
    };
    cases.iter().map(sample).collect()
}

#[cfg(test)]
mod tests {
    use super::super::cases::Pattern;
    use super::*;

    const CASE: Case = Case { format: Format::Raw, pattern: Pattern::RandomWrite, block_kib: 4, depth: 8 };

    fn heard() -> CpuTimes {
        let mut cpu = CpuTimes::default();
        cpu.hear("DISK-BEGIN randwrite-4k-x8", || Ok(1.0)).unwrap();
        cpu.hear("anything", || anyhow::bail!("not asked for")).unwrap();
        cpu.hear("DISK-END randwrite-4k-x8", || Ok(1.5)).unwrap();
        cpu
    }

    #[test]
    fn figures_are_fio_s_and_the_monitor_s() {
        let report = serde_json::json!({"jobs": [{"jobname": "randwrite-4k-x8", "error": 0,
            "write": {"total_ios": 1000, "io_bytes": 4096000, "runtime": 500}, "read": {"total_ios": 0}}]});
        let sample = samples(&report, &heard(), &[CASE]).unwrap()[0];
        assert_eq!((sample.requests_s, sample.cpu_us), (2000.0, 500.0));
        assert!((sample.mib_s - 7.8125).abs() < 1e-9, "{sample:?}");
    }

    #[test]
    fn a_job_that_failed_or_did_nothing_is_no_sample() {
        let report = |error: u32, requests: u32| {
            serde_json::json!({"jobs": [{"jobname": "randwrite-4k-x8", "error": error,
                "write": {"total_ios": requests, "io_bytes": 4096, "runtime": 500}}]})
        };
        assert!(samples(&report(0, 1), &heard(), &[CASE]).is_ok());
        assert!(samples(&report(5, 1), &heard(), &[CASE]).is_err());
        assert!(samples(&report(0, 0), &heard(), &[CASE]).is_err());
        assert!(samples(&report(0, 1), &CpuTimes::default(), &[CASE]).is_err());
        assert!(CpuTimes::default().hear("DISK-END x", || Ok(0.0)).is_err());
    }
}
