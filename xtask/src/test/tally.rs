//! Counting steps and tests, and telling the count.

use crate::lab::{Finished, Verdict};
use std::fmt::{self, Display};
use std::time::Duration;

/// What has been counted so far.
#[derive(Default)]
pub struct Tally {
    pub passed: usize,
    /// Name and reason.
    pub failed: Vec<(String, String)>,
    /// Name and reason.
    pub skipped: Vec<(String, String)>,
    steps: Vec<(String, &'static str, Duration)>,
}

impl Tally {
    /// Counts a failure.
    pub fn fail(&mut self, name: impl Into<String>, why: &str) {
        self.failed.push((name.into(), first_line(why)));
    }

    /// Counts something that this machine cannot run.
    pub fn skip(&mut self, name: impl Into<String>, why: &str) {
        self.skipped.push((name.into(), first_line(why)));
    }

    /// Counts a lab job.
    pub fn lab_job(&mut self, job: &Finished) {
        let name = format!("lab {}", job.name);
        match &job.verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed(why) => self.fail(name, why),
            Verdict::Skipped(why) => self.skip(name, why),
        }
    }

    /// Notes that a step has ended.
    pub fn step(&mut self, name: &str, result: &'static str, took: Duration) {
        self.steps.push((name.to_owned(), result, took));
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

impl Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, result, took) in &self.steps {
            writeln!(out, "{name:<13} {result:<7} {:>8.1} s", took.as_secs_f64())?;
        }
        for (name, why) in &self.skipped {
            writeln!(out, "skipped: {name}: {why}")?;
        }
        for (name, why) in &self.failed {
            writeln!(out, "FAILED: {name}: {why}")?;
        }
        writeln!(out, "{} passed, {} failed, {} skipped", self.passed, self.failed.len(), self.skipped.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_the_last_line() {
        let mut tally = Tally { passed: 3, ..Tally::default() };
        tally.fail("clippy", "warning: x\nmore");
        tally.skip("deny", "cargo-deny is not installed");
        tally.step("clippy", "FAILED", Duration::from_secs(2));
        let text = tally.to_string();
        assert_eq!(text.lines().last(), Some("3 passed, 1 failed, 1 skipped"));
        assert!(text.contains("skipped: deny: cargo-deny is not installed\n"));
        assert!(text.contains("FAILED: clippy: warning: x\n"));
    }
}
