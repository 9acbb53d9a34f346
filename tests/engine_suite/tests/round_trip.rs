//! State from one engine continues on another.

#![cfg(target_arch = "x86_64")]

use std::path::Path;

use arch_model::x86_64::{CpuState, msr};
use engine_suite::layout::{DATA, INTERRUPT, KERNEL_CODE32, USER_CODE64};
use engine_suite::outcome::End;
use engine_suite::round_trip::{Pending, Stop, carry, first_half, program, second_half, tsc_khz};
use kvm_engine::KvmEngine;
use soft_engine::SoftEngine;
use vcpu_model::Engine;

/// #UD, by which the programs end.
const UD: u8 = 6;

fn kvm() -> Option<KvmEngine> {
    KvmEngine::open(Path::new(kvm_engine::DEVICE)).inspect_err(|error| println!("SKIPPED: {error}")).ok()
}

/// The programs' arithmetic, done here.
fn result(long: bool) -> (u64, u64) {
    let (mut rax, mut memory) = (0u64, 0u64);
    for _ in 0..1000 {
        rax = rax.wrapping_mul(3).wrapping_add(7);
        if !long {
            rax &= 0xffff_ffff;
        }
        memory ^= if long { rax & 0xffff_ffff } else { rax };
    }
    (rax, memory)
}

/// Half on `first`, half on `second`, with a TSC of `khz`.
fn across(first: &impl Engine, second: &impl Engine, khz: Option<u32>) {
    for long in [true, false] {
        for pending in Pending::ALL {
            let what = format!("{} to {}, long {long}, {pending:?}", first.name(), second.name());
            let guest = program(long, pending);
            let stop =
                first_half(first, &guest, pending, khz).unwrap_or_else(|error| panic!("{what}: {error}"));
            let outcome =
                second_half(second, &guest, &stop).unwrap_or_else(|error| panic!("{what}: {error}"));
            let vector = if pending == Pending::Nothing { UD } else { INTERRUPT };
            assert_eq!(
                outcome.end,
                End::Event(vector),
                "{what}: {:x?} {:x?}",
                outcome.frame,
                outcome.state.registers
            );
            let cs = if long { USER_CODE64 } else { KERNEL_CODE32 };
            assert_eq!(outcome.frame.cs, cs, "{what}");
            if long && pending != Pending::Nothing {
                // It came wherever the program was.
                continue;
            }
            let (rax, memory) = result(long);
            assert_eq!(outcome.state.registers.rax, rax, "{what}");
            assert_eq!(outcome.memory(DATA) & 0xffff_ffff, memory, "{what}");
            if long {
                let xsave = &outcome.state.extended.xsave;
                // ST0 is 1000 and XMM0 a thousand times DATA (SDM vol. 1, 13.4.1).
                assert_eq!(xsave[32..42], [0, 0, 0, 0, 0, 0, 0, 0xfa, 0x08, 0x40], "{what}: ST0");
                assert_eq!(xsave[160..168], (1000 * DATA).to_le_bytes(), "{what}: XMM0");
            }
        }
    }
}

#[test]
fn from_soft_to_soft() {
    across(&SoftEngine::default(), &SoftEngine::default(), None);
}

#[test]
fn from_soft_to_kvm() {
    let Some(kvm) = kvm() else { return };
    across(&SoftEngine::default(), &kvm, tsc_khz(&kvm).unwrap());
}

#[test]
fn from_kvm_to_soft() {
    let Some(kvm) = kvm() else { return };
    across(&kvm, &SoftEngine::default(), None);
}

/// Without what goes on by itself: the TSC, and the timer's current count.
fn at_rest(state: &CpuState) -> CpuState {
    let mut state = state.clone();
    state.msrs.retain(|msr| !matches!(msr.index, msr::TSC));
    state.lapic.registers[0x39] = 0;
    state
}

fn stops(khz: Option<u32>) -> impl Iterator<Item = (String, Stop)> {
    let all = [true, false].into_iter().flat_map(|long| Pending::ALL.map(|pending| (long, pending)));
    all.map(move |(long, pending)| {
        let stop = first_half(&SoftEngine::default(), &program(long, pending), pending, khz)
            .expect("it stops half-way");
        (format!("long {long}, {pending:?}"), stop)
    })
}

#[test]
fn nothing_is_lost_from_soft_to_soft() {
    for (what, stop) in stops(Some(2_345_678)) {
        let again = carry(&SoftEngine::default(), &stop).unwrap();
        assert_eq!(at_rest(&again.cpu), at_rest(&stop.cpu), "{what}");
        assert_eq!(again.platform.ioapic, stop.platform.ioapic, "{what}");
        assert!(again.ram == stop.ram, "{what}: RAM");
    }
}

#[test]
fn what_both_keep_is_not_lost_from_soft_to_kvm_to_soft() {
    let Some(kvm) = kvm() else { return };
    for (what, stop) in stops(tsc_khz(&kvm).unwrap()) {
        let there = carry(&kvm, &stop).unwrap_or_else(|error| panic!("{what}: {error}"));
        let back = carry(&SoftEngine::default(), &there).unwrap();
        let lost = stop.cpu.msrs.iter().filter(|msr| there.cpu.msr(msr.index).is_none());
        println!("{what}: not kept by KVM: {:x?}", lost.map(|msr| msr.index).collect::<Vec<_>>());
        let (mut before, mut after) = (at_rest(&stop.cpu), at_rest(&back.cpu));
        keep_common(&mut before, &there.cpu);
        keep_common(&mut after, &there.cpu);
        assert_eq!(after.registers, before.registers, "{what}");
        assert_eq!(after.system, before.system, "{what}");
        assert_eq!(after.debug, before.debug, "{what}");
        assert_eq!(after.msrs, before.msrs, "{what}");
        assert_eq!(after.lapic, before.lapic, "{what}");
        assert_eq!(after, before, "{what}");
        assert_eq!(back.platform.ioapic, stop.platform.ioapic, "{what}");
    }
}

/// Leaves out what may differ: MSRs that this KVM does not keep for such a guest (memory type ranges, TSC_AUX, SPEC_CTRL
/// where its CPU lacks them). A value that is not zero would have been refused when it was set there.
fn keep_common(state: &mut CpuState, kvm: &CpuState) {
    state.msrs.retain(|value| kvm.msr(value.index).is_some());
}

/// A guest's TSC keeps its frequency, or the guest is not taken.
#[test]
fn a_tsc_of_another_frequency_is_not_taken_for_ones_own() {
    let Some(kvm) = kvm() else { return };
    let Some(khz) = tsc_khz(&kvm).unwrap() else {
        return println!("SKIPPED: this KVM does not say its frequency");
    };
    let (_, stop) = stops(Some(khz / 2)).next().expect("there are stops");
    match carry(&kvm, &stop) {
        Ok(there) => assert_eq!(there.cpu.tsc_khz, Some(khz / 2)),
        Err(error) => assert!(error.contains("cannot scale it"), "{error}"),
    }
}
