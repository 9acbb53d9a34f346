//! The cases of system semantics on the engines of this host.

use std::io::Write as _;
use std::path::Path;

use engine_suite::cases::Case;
use engine_suite::features::Offered;
use engine_suite::suite::{self, Report};
use engine_suite::{cases, tables};
use kvm_engine::{Hardware, KvmEngine};
use soft_engine::SoftEngine;

/// Of so many cases one is run where KVM emulates ring 0.
const SAMPLE: usize = 41;
/// Cases after which the test says how far it is.
const PART: usize = 400;

/// Cases that end QEMU 7.2 itself, whose emulation of AMD-V the lab runs on. "tcg_handle_interrupt: assertion failed": it
/// takes a write of CR8 with an interrupt pending without its own lock. "invalid tss": its LTR takes a null selector, and
/// gives up at the next interrupt. The third stops the lab's machine for good: QEMU leaves out a write of CR0 that should
/// fault. An XSETBV that leaves AVX out is not shown to KVM before QEMU 9.1, and takes AVX away from the machine's own
/// programs.
const QEMU_ENDS_BY: [&str; 4] =
    ["CR8 holds the interrupt back", "ltr null", "mov to cr0: PG with LME but not PAE", "xsetbv: x87"];

/// Names of cases that QEMU 7.2 gets wrong, where KVM shows what its emulation of a processor does, each seen: they are
/// run, and what they show there does not count. VMRUN does not arm the breakpoints of DR7. A reference to the stack that
/// is not canonical is #GP, and one that only ends behind the canonical addresses a page fault. Moves to control and debug
/// registers, WRMSR, LGDT and LIDT take reserved bits and bases that are not canonical, and LTR a 16-bit TSS. A fault while
/// another is delivered has no EXT in its error code, counts 16 for each vector there (as that of INT does), and makes no double fault of #NP and
/// #GP; one of a software interrupt's stack has RIP behind the instruction. CR0.EM forbids VEX. SYSRET does not load VIF
/// and VIP. XRSTOR looks neither at CR0.TS nor at MXCSR's reserved bits. An inner stack's descriptor is not looked at
/// closely; a page fault by a reserved bit has no P in its error code; VZEROALL and VZEROUPPER clear sixteen registers everywhere. There is no INT1, and an interrupt's shadow ends
/// with VMRUN.
const QEMU_DIFFERS: &str = include_str!("qemu_differs.txt");

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
    cases.retain(chosen);
    let report = suite::run_all(&engine, &cases, &|_| ());
    let lines = [report.failed, report.wrong].concat();
    assert!(lines.is_empty(), "{} of {}:\n{}", lines.len(), cases.len(), lines.join("\n"));
    println!("{} cases", report.passed);
}

/// Whether a line of the report is about a case that QEMU is known to get wrong.
fn is_known(line: &str) -> bool {
    let is_about = |name: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(" ["));
    QEMU_DIFFERS.lines().any(is_about)
}

/// Whether a case is to be run: all are, or those whose names contain what `YAGURA_CASES` says.
fn chosen(case: &Case) -> bool {
    named().is_none_or(|part| case.name.contains(&part))
}

fn named() -> Option<String> {
    std::env::var("YAGURA_CASES").ok()
}

/// Writes `line` to the file that `YAGURA_PROGRESS` names: what is in it last, where a case ends the whole machine.
fn note(line: &str) {
    let Some(path) = std::env::var_os("YAGURA_PROGRESS") else { return };
    let file = std::fs::OpenOptions::new().append(true).open(path);
    // A case is not worse for not being noted.
    let _ = file.and_then(|mut file| writeln!(file, "{line}"));
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
    let runs = |case: &Case| {
        let ends_qemu = !offered.intel && QEMU_ENDS_BY.iter().any(|name| case.name.contains(name));
        // Who names cases wants to see them.
        chosen(case) && offered.covers(case) && (!ends_qemu || named().is_some())
    };
    let all = cases::all().into_iter().filter(runs).map(|mut case| {
        if !offered.intel {
            // QEMU's emulation of AMD-V, which the lab runs on, ends itself ("invalid tss type") at a switch to an
            // inner stack by a 32-bit TSS that VMLOAD brought as busy. AMD's processors do not look at the type.
            case.guest.system.tr.kind = tables::TSS;
        }
        case
    });
    let cases: Vec<_> = all.step_by(step).collect();
    println!("{} cases apply to a vCPU with {offered:?}", cases.len());
    let mut report = Report::default();
    for part in cases.chunks(PART) {
        let came = suite::run_all(&engine, part, &|case| note(&case.name));
        // Told at once: a case may end the machine that it runs in.
        let told = came.failed.iter().chain(&came.wrong).filter(|line| offered.intel || !is_known(line));
        told.for_each(|line| println!("{line}"));
        report.passed += came.passed;
        report.failed.extend(came.failed);
        report.wrong.extend(came.wrong);
        println!("{} as they should be, to {:?}", report.passed, part.last().map(|case| &case.name));
    }
    let mut lines = [report.failed, report.wrong].concat();
    if !offered.intel {
        let all = lines.len();
        lines.retain(|line| !is_known(line));
        println!("{} as QEMU has them, as is known", all - lines.len());
    }
    if !on_hardware {
        return println!("{} not comparable, as this KVM emulates ring 0", lines.len());
    }
    assert!(lines.is_empty(), "{} of {}:\n{}", lines.len(), cases.len(), lines.join("\n"));
}
