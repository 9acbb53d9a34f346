//! The cases of system semantics on KVM, where there is hardware behind it, or QEMU's emulation of such.

#![cfg(target_arch = "x86_64")]

use std::io::Write as _;
use std::path::Path;

use engine_suite::cases::Case;
use engine_suite::features::Offered;
use engine_suite::known::Known;
use engine_suite::suite::{self, Report, chosen, named};
use engine_suite::{cases, tables};
use kvm_engine::{Hardware, KvmEngine};

/// Of so many cases one is run where KVM emulates ring 0.
const SAMPLE: usize = 41;
/// Cases after which the test says how far it is.
const PART: usize = 400;

/// Cases that end QEMU 7.2 itself, whose emulation of AMD-V the lab runs on; each was seen to. "tcg_handle_interrupt:
/// assertion failed": it takes a write of CR8 with an interrupt pending without its own lock. "invalid tss": its LTR
/// takes a null selector, and gives up at the next interrupt. The third stops the lab's machine for good: QEMU leaves out
/// a write of CR0 that should fault. An XSETBV that leaves AVX out is not shown to KVM before QEMU 9.1, and takes AVX
/// away from the machine's own programs.
const QEMU_ENDS_BY: [&str; 4] =
    ["CR8 holds the interrupt back", "ltr null", "mov to cr0: PG with LME but not PAE", "xsetbv: x87"];

/// Cases that QEMU 7.2 gets wrong, each seen: they are run, and have to differ.
const QEMU_DIFFERS: &str = include_str!("qemu_differs.txt");
/// What QEMU's own processor says in CPUID's leaf for hypervisors.
const QEMU: &[u8; 12] = b"TCGTCGTCGTCG";
const HYPERVISOR_LEAF: u32 = 0x4000_0000;

#[test]
fn what_qemu_gets_wrong_is_listed_by_names_that_there_are() {
    let names: Vec<String> = cases::all().into_iter().map(|case| case.name).collect();
    let known = Known::parse(QEMU_DIFFERS).unwrap();
    assert_eq!(known.unused(&names), Vec::<&str>::new());
}

/// Whether this host's processor is QEMU's emulation of one.
fn is_qemu() -> bool {
    let answer = std::arch::x86_64::__cpuid(HYPERVISOR_LEAF);
    [answer.ebx, answer.ecx, answer.edx].map(u32::to_le_bytes).as_flattened() == QEMU
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
    let on_qemu = is_qemu();
    let known = if on_qemu { Known::parse(QEMU_DIFFERS).unwrap() } else { Known::default() };
    let runs = |case: &Case| {
        let ends_qemu = on_qemu && QEMU_ENDS_BY.iter().any(|name| case.name.contains(name));
        // Who names cases wants to see them.
        chosen(case) && offered.covers(case) && (!ends_qemu || named().is_some())
    };
    let all = cases::all().into_iter().filter(runs).map(|mut case| {
        if on_qemu {
            // QEMU ends itself ("invalid tss type") at a switch to an inner stack by a TSS that VMLOAD brought as busy.
            // AMD's processors do not look at the type.
            case.guest.system.tr.kind &= !tables::BUSY;
        }
        case
    });
    let cases: Vec<_> = all.step_by(step).collect();
    println!("{} cases apply to a vCPU with {offered:?}", cases.len());
    let mut report = Report::default();
    for part in cases.chunks(PART) {
        let came = suite::run_all(&engine, part, &|case| note(&case.name));
        // Told at once: a case may end the machine that it runs in.
        known.judge(&came).unexpected.iter().for_each(|line| println!("{line}"));
        report.agreed.extend(came.agreed);
        report.wrong.extend(came.wrong);
        println!("{} as they should be, to {:?}", report.agreed.len(), part.last().map(|case| &case.name));
    }
    let judged = known.judge(&report);
    let unexpected = judged.unexpected.len();
    if !on_hardware {
        return println!("{unexpected} not comparable, as this KVM emulates ring 0");
    }
    let groups = judged.expected.len();
    let differ: usize = judged.expected.iter().map(|(_, count)| count).sum();
    judged.expected.iter().for_each(|(reason, count)| println!("{count:>4} differ: {reason}"));
    println!("{} as the manual says, {differ} differ as is known, in {groups} groups", report.agreed.len());
    assert!(unexpected == 0, "{unexpected} of {} unexpected, each in a line above", cases.len());
}
