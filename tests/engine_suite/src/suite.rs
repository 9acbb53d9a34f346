//! Runs all cases and counts.

use vcpu_model::Engine;

use crate::cases::Case;
use crate::run::run;

/// What came of a suite.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Cases that came out as the manual says.
    pub passed: usize,
    /// Cases that came out otherwise: name, section and differences.
    pub wrong: Vec<String>,
    /// Cases that the engine could not run: name and its words.
    pub failed: Vec<String>,
}

/// Threads even on one CPU: the end of a VM is mostly waiting.
const THREADS_AT_LEAST: usize = 4;

/// Runs `cases` on `engine`, on as many threads as the host has CPUs, or some more. Each is shown to `before` first.
pub fn run_all(engine: &(impl Engine + Sync), cases: &[Case], before: &(impl Fn(&Case) + Sync)) -> Report {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).max(THREADS_AT_LEAST);
    let share = cases.len().div_ceil(threads).max(1);
    let mut report = Report::default();
    std::thread::scope(|scope| {
        let parts = cases.chunks(share).map(|part| scope.spawn(move || run_part(engine, part, before)));
        for part in parts.collect::<Vec<_>>() {
            if let Ok(part) = part.join() {
                report.passed += part.passed;
                report.wrong.extend(part.wrong);
                report.failed.extend(part.failed);
            } else {
                report.failed.push("a thread of the suite panicked".to_owned());
            }
        }
    });
    report
}

fn run_part(engine: &impl Engine, cases: &[Case], before: &impl Fn(&Case)) -> Report {
    let mut report = Report::default();
    for case in cases {
        before(case);
        let name = format!("{} [{}]", case.name, case.section);
        match run(engine, &case.guest) {
            Err(error) => report.failed.push(format!("{name}: {error}")),
            Ok(outcome) => {
                let differences = case.expect.differences(&outcome);
                if differences.is_empty() {
                    report.passed += 1;
                } else {
                    report.wrong.push(format!("{name}: {}", differences.join("; ")));
                }
            }
        }
    }
    report
}
