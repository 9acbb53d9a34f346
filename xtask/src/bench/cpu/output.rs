//! The lines that `guest_bench` prints.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::bench::contestant::Lines;

/// A benchmark that was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    pub name: String,
    /// What an operation is.
    pub unit: String,
    /// Of the work done.
    pub checksum: String,
    /// Nanoseconds an operation, one figure a repetition.
    pub nanoseconds: Vec<f64>,
}

/// One run of the list.
#[derive(Debug, Default)]
pub struct Run {
    pub measured: Vec<Measured>,
    /// Names, and why.
    pub skipped: Vec<(String, String)>,
    pub failed: Vec<(String, String)>,
    /// Time from the first line to the last by the clock of the one who measures, over that by ours.
    pub clock_ratio: f64,
}

/// One line.
#[derive(Debug, PartialEq)]
enum Line {
    Begin(Duration),
    End(Duration),
    Result(Measured),
    Skipped(String, String),
    Failed(String, String),
    /// Of the kernel, or of a firmware.
    Other,
}

impl Run {
    /// Reads to the last line.
    pub fn read(lines: &mut Lines, deadline: Instant) -> Result<Run> {
        let mut run = Run::default();
        let mut begin = None;
        while let Some((moment, text)) = lines.next(deadline)? {
            match Line::parse(&text)? {
                Line::Begin(clock) => begin = Some((moment, clock)),
                Line::Result(measured) => run.measured.push(measured),
                Line::Skipped(name, reason) => run.skipped.push((name, reason)),
                Line::Failed(name, reason) => run.failed.push((name, reason)),
                Line::Other => {}
                Line::End(clock) => {
                    let (first, since) = begin.context("the benchmarks ended before they began")?;
                    let ours = moment.duration_since(first).as_secs_f64();
                    run.clock_ratio = clock.saturating_sub(since).as_secs_f64() / ours;
                    return Ok(run);
                }
            }
        }
        bail!("{}", lines.complain("ended before its benchmarks did"))
    }
}

impl Line {
    fn parse(text: &str) -> Result<Line> {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let words: Vec<&str> = rest.split(' ').collect();
        let bad = || format!("cannot understand the line {text:?}");
        Ok(match (word, words.as_slice()) {
            ("BEGIN", [clock, _processors]) => Line::Begin(nanoseconds(clock).with_context(bad)?),
            ("END", [clock]) => Line::End(nanoseconds(clock).with_context(bad)?),
            ("RESULT", [name, unit, checksum, figures @ ..]) if !figures.is_empty() => {
                let figures = figures.iter().map(|figure| figure.parse::<f64>());
                Line::Result(Measured {
                    name: (*name).to_owned(),
                    unit: (*unit).to_owned(),
                    checksum: (*checksum).to_owned(),
                    nanoseconds: figures.collect::<Result<_, _>>().with_context(bad)?,
                })
            }
            ("SKIPPED", [name, _unit, reason @ ..]) => Line::Skipped((*name).to_owned(), reason.join(" ")),
            ("FAILED", [name, _unit, reason @ ..]) => Line::Failed((*name).to_owned(), reason.join(" ")),
            ("RESULT" | "BEGIN" | "END" | "PROBLEM", _) => bail!(bad()),
            _ => Line::Other,
        })
    }
}

fn nanoseconds(text: &str) -> Result<Duration> {
    Ok(Duration::from_nanos(text.parse()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::contestant::within;
    use std::process::Command;

    const TEXT: &str = "[    0.1] Linux version\nBEGIN 1000 2\nRESULT sort item ab12 3.5 4.0\n\
        SKIPPED avx2_float vector the processor has no AVX2\nFAILED x87 step a round's checksum was 1\nEND 2000\n";

    fn read(text: &str) -> Result<Run> {
        let mut command = Command::new("printf");
        command.args(["%s", text]);
        Run::read(&mut Lines::start(command)?, within(Duration::from_secs(20)))
    }

    #[test]
    fn reads_a_run() {
        let run = read(TEXT).unwrap();
        let [measured] = run.measured.as_slice() else { panic!("{run:?}") };
        assert_eq!((measured.name.as_str(), measured.unit.as_str()), ("sort", "item"));
        assert_eq!((measured.checksum.as_str(), measured.nanoseconds.as_slice()), ("ab12", &[3.5, 4.0][..]));
        let pair = |name: &str, reason: &str| vec![(name.to_owned(), reason.to_owned())];
        assert_eq!(run.skipped, pair("avx2_float", "the processor has no AVX2"));
        assert_eq!(run.failed, pair("x87", "a round's checksum was 1"));
        assert!(run.clock_ratio > 0.0);
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        assert!(read("BEGIN 1000 1\nRESULT sort item ab12 3.5\n").is_err());
        assert!(read("END 5\n").is_err());
        assert!(read("BEGIN 1 1\nRESULT sort item\nEND 2\n").is_err());
        assert!(read("BEGIN 1 1\nRESULT sort item ab fast\nEND 2\n").is_err());
        assert!(read("PROBLEM cannot mount /proc\n").is_err());
    }
}
