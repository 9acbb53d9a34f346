//! The cases of system semantics on the engines of this host.

use std::path::Path;

use engine_suite::features::Offered;
use engine_suite::{cases, suite};
use kvm_engine::{Hardware, KvmEngine};
use soft_engine::SoftEngine;

/// Of so many cases one is run where KVM emulates ring 0.
const SAMPLE: usize = 41;

#[test]
fn the_soft_engine_does_what_the_manual_says() {
    let cases = cases::all();
    let report = suite::run_all(&SoftEngine::default(), &cases);
    let lines = [report.failed, report.wrong].concat();
    assert!(lines.is_empty(), "{} of {}:\n{}", lines.len(), cases.len(), lines.join("\n"));
    println!("{} cases", report.passed);
}

/// Where KVM emulates ring 0, cases that it does not get right are named and not compared.
#[test]
fn kvm_does_what_the_manual_says() {
    let engine = match KvmEngine::open(Path::new(kvm_engine::DEVICE)) {
        Ok(engine) => engine,
        Err(error) => return println!("SKIPPED: {error}"),
    };
    let on_hardware = engine.probe().is_ok_and(|report| report.hardware == Hardware::Present);
    // Where ring 0 is emulated, a case takes long; a sample shows that they run at all.
    let step = if on_hardware { 1 } else { SAMPLE };
    let offered = Offered::by(&engine).unwrap_or_else(|error| {
        assert!(!on_hardware, "CPUID: {error}");
        println!("CPUID: {error}");
        Offered::default()
    });
    let all = cases::all().into_iter().filter(|case| offered.covers(case));
    let cases: Vec<_> = all.step_by(step).collect();
    println!("{} cases apply to a vCPU with {offered:?}", cases.len());
    let report = suite::run_all(&engine, &cases);
    let lines = [report.failed, report.wrong].concat();
    if !on_hardware {
        println!("{} cases; {} not comparable, as this KVM emulates ring 0:", report.passed, lines.len());
        return println!("{}", lines.join("\n"));
    }
    assert!(lines.is_empty(), "{} of {}:\n{}", lines.len(), cases.len(), lines.join("\n"));
}
