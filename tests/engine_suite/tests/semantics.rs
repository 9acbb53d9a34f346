//! The cases of system semantics on the soft engine.

use engine_suite::cases;
use engine_suite::suite;
use soft_engine::SoftEngine;

#[test]
fn the_interpreter_does_what_the_manual_says() {
    every_case(SoftEngine::interpreter());
}

#[test]
fn translated_code_does_what_the_manual_says() {
    every_case(SoftEngine::eager());
}

fn every_case(engine: SoftEngine) {
    let mut cases = cases::all();
    cases.retain(suite::chosen);
    let report = suite::run_all(&engine, &cases, &|_| ());
    assert!(report.wrong.is_empty(), "{} of {}:\n{}", report.wrong.len(), cases.len(), lines(&report.wrong));
    println!("{} cases", report.agreed.len());
}

fn lines(all: &[impl ToString]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
