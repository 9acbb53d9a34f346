//! Runs all cases and tells what came of each.

use std::fmt::{self, Display};

use vcpu_model::Engine;

use crate::cases::Case;
use crate::run::run;

/// What came of a suite.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Names of the cases that came out as the manual says.
    pub agreed: Vec<String>,
    /// The other cases.
    pub wrong: Vec<Wrong>,
}

/// A case that came out otherwise, or that the engine could not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The case's name.
    pub name: String,
    /// Where the manual says what should have come.
    pub section: &'static str,
    /// The differences, or the engine's words.
    pub how: String,
}

impl Display for Wrong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wrong { name, section, how } = self;
        write!(out, "{name} [{section}]: {how}")
    }
}

/// Threads even on one CPU: the end of a VM is mostly waiting.
const THREADS_AT_LEAST: usize = 4;

/// Runs `cases` on `engine`, on as many threads as the host has CPUs, or some more. Each is shown to `before` first.
///
/// # Panics
/// Where a case makes the engine panic.
pub fn run_all(engine: &(impl Engine + Sync), cases: &[Case], before: &(impl Fn(&Case) + Sync)) -> Report {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).max(THREADS_AT_LEAST);
    let share = cases.len().div_ceil(threads).max(1);
    let mut report = Report::default();
    std::thread::scope(|scope| {
        let parts = cases.chunks(share).map(|part| scope.spawn(move || run_part(engine, part, before)));
        for part in parts.collect::<Vec<_>>() {
            let part = part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            report.agreed.extend(part.agreed);
            report.wrong.extend(part.wrong);
        }
    });
    report
}

fn run_part(engine: &impl Engine, cases: &[Case], before: &impl Fn(&Case)) -> Report {
    let mut report = Report::default();
    for case in cases {
        before(case);
        let differences = match run(engine, &case.guest) {
            Err(error) => vec![format!("it cannot be run: {error}")],
            Ok(outcome) => case.expect.differences(&outcome),
        };
        let name = case.name.clone();
        if differences.is_empty() {
            report.agreed.push(name);
        } else {
            report.wrong.push(Wrong { name, section: case.section, how: differences.join("; ") });
        }
    }
    report
}

/// Whether a case is to be run: all are, or those whose names contain what `YAGURA_CASES` says.
pub fn chosen(case: &Case) -> bool {
    named().is_none_or(|part| case.name.contains(&part))
}

/// What `YAGURA_CASES` says.
pub fn named() -> Option<String> {
    std::env::var("YAGURA_CASES").ok()
}
