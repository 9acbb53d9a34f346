//! The whole list runs on this machine, and its checksums are the same every time.

use std::collections::BTreeMap;
use std::process::Command;

/// Name to checksum of what was measured; panics at what failed.
fn checksums() -> BTreeMap<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guest_bench"));
    let output = command.args(["--millis", "0", "--repetitions", "1"]).output().expect("it starts");
    let text = String::from_utf8(output.stdout).expect("it prints text");
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("FAILED") && !text.contains("PROBLEM"), "{text}");
    let last = text.lines().last().unwrap_or_default();
    assert!(text.starts_with("BEGIN ") && last.starts_with("END "), "{text}");
    let results = text.lines().filter_map(|line| line.strip_prefix("RESULT "));
    let checksum = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        assert!(words.len() == 4 && words[3].parse().is_ok_and(|time: f64| time > 0.0), "{line}");
        (words[0].to_owned(), words[2].to_owned())
    };
    results.map(checksum).collect()
}

#[test]
fn checksums_are_the_same_every_time() {
    let first = checksums();
    assert!(first.len() > 35, "{first:?}");
    assert_eq!(first, checksums());
}

#[test]
fn what_is_not_understood_is_told() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guest_bench"));
    let output = command.args(["--frobnicate", "1"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("--frobnicate"));
}
