//! The unit and integration tests under plain `cargo test`, where nextest is not installed.

use super::tally::Tally;
use super::{SKIPPED, cargo, tee};
use anyhow::{Result, ensure};

/// Time after which the whole run is ended: cargo test itself kills nothing that hangs.
const LIMIT: &str = "1800s";

/// Runs the tests and counts them.
pub fn run(all: bool, tally: &mut Tally) -> Result<()> {
    let mut command = std::process::Command::new("timeout");
    let inner = cargo(&["test", "--workspace", "--no-fail-fast", "--", "--show-output"]);
    command.args(["--kill-after=10s", LIMIT]).arg(inner.get_program()).args(inner.get_args());
    command.current_dir(crate::workspace::root()).args(all.then_some("--include-ignored"));
    let (text, success) = tee::run_and_tell(&mut command)?;
    let outcome = Outcome::read(&text);
    tally.passed += outcome.passed;
    outcome.failed.iter().for_each(|name| tally.fail(name, "see its output above"));
    outcome.skipped.iter().for_each(|(name, why)| tally.skip(name, why));
    ensure!(success, "cargo test failed");
    Ok(())
}

#[derive(Default, Debug, PartialEq, Eq)]
struct Outcome {
    passed: usize,
    failed: Vec<String>,
    skipped: Vec<(String, String)>,
}

impl Outcome {
    /// Reads lines like `test a::b ... ok`, and the outputs that follow `---- a::b stdout ----`.
    fn read(text: &str) -> Self {
        let mut outcome = Self::default();
        let mut speaking = None;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"))
            {
                speaking = Some(name.to_owned());
            } else if let Some(reason) = line.strip_prefix(SKIPPED) {
                if let Some(name) = speaking.take() {
                    outcome.skipped.push((name, reason.trim().to_owned()));
                    outcome.passed = outcome.passed.saturating_sub(1);
                }
            } else if let Some((name, result)) =
                line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "))
            {
                match result.split(',').next().unwrap_or_default() {
                    "ok" => outcome.passed += 1,
                    "FAILED" => outcome.failed.push(name.to_owned()),
                    "ignored" => {
                        let why = result.split_once(", ").map_or("marked #[ignore]", |(_, why)| why);
                        outcome.skipped.push((name.to_owned(), why.to_owned()));
                    }
                    _ => {}
                }
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_results_and_reasons() {
        let text = "test a ... ok\ntest b ... FAILED\ntest c ... ignored, slow\ntest d ... ok\n\nsuccesses:\n\
            ---- d stdout ----\nSKIPPED: no /dev/kvm\n\ntest result: FAILED. 2 passed; 1 failed\n";
        let outcome = Outcome::read(text);
        assert_eq!(outcome.passed, 1);
        assert_eq!(outcome.failed, ["b"]);
        let skipped =
            [("c", "slow"), ("d", "no /dev/kvm")].map(|(name, why)| (name.to_owned(), why.to_owned()));
        assert_eq!(outcome.skipped, skipped);
    }
}
