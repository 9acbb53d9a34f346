//! The unit and integration tests under nextest, which kills what hangs.

use super::tally::Tally;
use super::{SKIPPED, cargo, tee};
use crate::{process, workspace};
use anyhow::{Context, Result, ensure};

const JUNIT: &str = "nextest/ci/junit.xml";
/// The reason that is told for a test marked `#[ignore]`.
const IGNORED: &str = "marked #[ignore]; runs under test --all";

/// Runs the tests and counts them.
pub fn run(all: bool, tally: &mut Tally) -> Result<()> {
    let selection = ["--workspace", "--profile", "ci"];
    let junit = workspace::target().join(JUNIT);
    // One of an earlier run would be taken for this one's.
    let _ = std::fs::remove_file(&junit);
    let mut command = cargo(&["nextest", "run"]);
    command.args(selection).args(all.then_some(["--run-ignored", "all"]).iter().flatten());
    let (text, success) = tee::run_and_tell(&mut command)?;
    let summary =
        Summary::parse(&text).context("nextest gave no summary: the tests did not build or did not start")?;
    let report =
        std::fs::read_to_string(&junit).with_context(|| format!("cannot read {}", junit.display()))?;
    let cases = cases(&report);
    let failed: Vec<&Case> = cases.iter().filter(|case| case.failed).collect();
    let skipped: Vec<(&Case, &str)> =
        cases.iter().filter_map(|case| Some((case, case.skipped.as_deref()?))).collect();
    tally.passed += summary.passed - skipped.len().min(summary.passed);
    for case in &failed {
        tally.fail(&case.name, "see its output above");
    }
    for (case, why) in skipped {
        tally.skip(&case.name, why);
    }
    if summary.skipped > 0 {
        let mut command = cargo(&["nextest", "list", "--message-format", "json"]);
        let listed = process::output(command.args(selection))?;
        for name in ignored(&listed)? {
            tally.skip(name, IGNORED);
        }
    }
    ensure!(success && summary.failed == 0, "nextest: {} failed", summary.failed);
    Ok(())
}

/// nextest's own count.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Summary {
    /// Reads a line like `Summary [ 0.4s] 9 tests run: 6 passed (1 slow), 2 failed, 1 timed out, 0 skipped`.
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().rev().find(|line| line.trim_start().starts_with("Summary ["))?;
        let (_, counts) = line.split_once("run: ")?;
        let mut summary = Self { passed: 0, failed: 0, skipped: 0 };
        for part in counts.split(", ") {
            let (number, what) = part.trim().split_once(' ')?;
            // A part like "1 leaky)" belongs to the parenthesis before it.
            let Ok(number) = number.parse::<usize>() else { continue };
            match what.split(' ').next()? {
                "passed" => summary.passed += number,
                "skipped" => summary.skipped += number,
                "failed" | "timed" | "exec" => summary.failed += number,
                _ => {}
            }
        }
        Some(summary)
    }
}

/// A test in the JUnit report.
#[derive(Debug, PartialEq, Eq)]
struct Case {
    name: String,
    failed: bool,
    /// The reason that the test gave.
    skipped: Option<String>,
}

fn cases(report: &str) -> Vec<Case> {
    let bodies = report.split("<testcase ").skip(1);
    let cases = bodies.map(|body| {
        let body = body.split("</testcase>").next().unwrap_or(body);
        let failed = body.contains("<failure") || body.contains("<error");
        let reason = body.split_once(SKIPPED).map(|(_, rest)| rest.split(['\n', '<']).next().unwrap_or(rest));
        let name = format!("{} {}", attribute(body, "classname"), attribute(body, "name"));
        Case { name, failed, skipped: reason.filter(|_| !failed).map(|reason| plain(reason.trim())) }
    });
    cases.collect()
}

fn attribute(body: &str, name: &str) -> String {
    let value = body.split_once(&format!(" {name}=\"")).or_else(|| body.split_once(&format!("{name}=\"")));
    plain(value.and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default())
}

fn plain(escaped: &str) -> String {
    let pairs =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#39;", "'"), ("&amp;", "&")];
    pairs.iter().fold(escaped.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// Names of the tests marked `#[ignore]` in what `nextest list` tells.
fn ignored(listed: &str) -> Result<Vec<String>> {
    let list: serde_json::Value = serde_json::from_str(listed)?;
    let suites = list["rust-suites"].as_object().context("nextest list names no suites")?;
    let mut names = Vec::new();
    for (suite, content) in suites {
        let tests = content["testcases"].as_object().into_iter().flatten();
        names.extend(
            tests.filter(|(_, test)| test["ignored"] == true).map(|(name, _)| format!("{suite} {name}")),
        );
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_summary() {
        let text = "x\n     Summary [   0.381s] 29 tests run: 29 passed, 2 skipped\n";
        assert_eq!(Summary::parse(text), Some(Summary { passed: 29, failed: 0, skipped: 2 }));
        let text = "  Summary [ 70.1s] 9/12 tests run: 5 passed (1 slow, 1 leaky), 2 failed, 1 timed out, 1 exec failed, 0 skipped\n error: x";
        assert_eq!(Summary::parse(text), Some(Summary { passed: 5, failed: 4, skipped: 0 }));
        assert_eq!(Summary::parse("error: could not compile"), None);
    }

    #[test]
    fn reads_the_report() {
        let report = "<testsuite name=\"disk\"><testcase name=\"a::b\" classname=\"disk\" time=\"0.1\"><system-out>\nrunning\n\
            SKIPPED: no /dev/kvm &amp; no rights\nok</system-out></testcase>\
            <testcase name=\"c\" classname=\"disk\" time=\"1\"><failure type=\"test failure\">x</failure></testcase>\
            <testcase name=\"d\" classname=\"disk\" time=\"1\"><system-out>fine</system-out></testcase></testsuite>";
        let case = |name: &str, failed, skipped: Option<&str>| Case {
            name: name.to_owned(),
            failed,
            skipped: skipped.map(str::to_owned),
        };
        let wanted = [
            case("disk a::b", false, Some("no /dev/kvm & no rights")),
            case("disk c", true, None),
            case("disk d", false, None),
        ];
        assert_eq!(cases(report), wanted);
    }

    #[test]
    fn names_ignored_tests() {
        let listed =
            r#"{"rust-suites": {"disk": {"testcases": {"a": {"ignored": true}, "b": {"ignored": false}}}}}"#;
        assert_eq!(ignored(listed).unwrap(), ["disk a"]);
    }
}
