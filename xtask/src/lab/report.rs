//! What became of each job, read from the lines that the lab's machine writes.

use std::fmt::{self, Display};
use std::time::Duration;

/// What the agent writes before the first job.
pub const START: &str = "LAB START";
/// What the agent writes instead of running the next job when the machine's timers are late.
pub const LATE: &str = "LAB LATE";
/// What the agent writes when a job begins.
pub const RUN: &str = "LAB RUN";
/// What the agent writes after the last job; without it nothing counts.
pub const END: &str = "LAB END";

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed(String),
    Skipped(String),
}

/// What became of all jobs: machine and job, how long it took, verdict.
#[derive(Default)]
pub struct Report {
    /// In the order in which they ran.
    pub verdicts: Vec<Finished>,
}

/// A job that has ended.
pub struct Finished {
    /// The job's name, with its machine's.
    pub name: String,
    /// Wall time.
    pub took: Duration,
    /// What became of it.
    pub verdict: Verdict,
}

impl Report {
    /// The jobs that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Finished> {
        self.verdicts.iter().filter(|job| matches!(job.verdict, Verdict::Failed(_)))
    }

    /// How many jobs failed.
    pub fn failed(&self) -> usize {
        self.failures().count()
    }
}

impl Finished {
    /// The job's name without its machine's.
    pub fn job_name(&self) -> &str {
        self.name.split('@').next().unwrap_or(&self.name)
    }
}

impl Display for Finished {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, why) = match &self.verdict {
            Verdict::Passed => ("PASS", ""),
            Verdict::Failed(why) => ("FAIL", why.as_str()),
            Verdict::Skipped(why) => ("SKIP", why.as_str()),
        };
        write!(out, "LAB {word} {} ({:.1} s)", self.name, self.took.as_secs_f64())?;
        if why.is_empty() { Ok(()) } else { write!(out, ": {why}") }
    }
}

impl Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count =
            |wanted: fn(&Verdict) -> bool| self.verdicts.iter().filter(|job| wanted(&job.verdict)).count();
        let passed = count(|verdict| *verdict == Verdict::Passed);
        let skipped = count(|verdict| matches!(verdict, Verdict::Skipped(_)));
        write!(out, "lab: {passed} passed, {} failed, {skipped} skipped", self.failed())
    }
}

impl Verdict {
    /// The line that tells of the verdict.
    pub fn line(&self, job: &str) -> String {
        match self {
            Self::Passed => format!("LAB PASS {job}"),
            Self::Failed(why) => format!("LAB FAIL {job}: {why}"),
            Self::Skipped(why) => format!("LAB SKIP {job}: {why}"),
        }
    }

    /// Reads such a line: the job's name and the verdict.
    pub fn parse(line: &str) -> Option<(&str, Self)> {
        let (word, rest) = line.strip_prefix("LAB ")?.split_once(' ')?;
        let (job, why) = rest.split_once(": ").unwrap_or((rest, ""));
        let verdict = match word {
            "PASS" => Self::Passed,
            "FAIL" => Self::Failed(why.to_owned()),
            "SKIP" => Self::Skipped(why.to_owned()),
            _ => return None,
        };
        Some((job.trim(), verdict))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read_as_they_are_written() {
        for verdict in [Verdict::Passed, Verdict::Failed("a: b".into()), Verdict::Skipped("no KVM".into())] {
            let line = verdict.line("smp");
            assert_eq!(Verdict::parse(&line), Some(("smp", verdict)));
        }
    }

    #[test]
    fn other_lines_are_none() {
        for line in ["LAB RUN smp", "LAB END", "PASS smp", "a LAB PASS smp"] {
            assert_eq!(Verdict::parse(line), None);
        }
    }
}
