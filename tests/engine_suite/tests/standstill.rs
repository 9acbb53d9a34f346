//! What a guest is told of the time in which it stood still, on each engine (Linux, `Documentation/virt/kvm/x86/msr.rst`,
//! MSR_KVM_SYSTEM_TIME_NEW).

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

use std::time::Duration;

use arch_model::x86_64::msr;
use engine_suite::guest::Guest;
use engine_suite::layout::DATA;
use engine_suite::run::{allocate, initial, run_for};
use guest_memory::{Bytes, GuestAddress, GuestMemory};
use soft_engine::SoftEngine;
use vcpu_model::{Engine, Vcpu, VcpuIndex, Vm, VmConfig};

/// jmp to itself
const WAIT: &[u8] = &[0xeb, 0xfe];
/// The structure, and its byte of flags.
const PLACE: u64 = DATA + 0x40;
const FLAGS: GuestAddress = GuestAddress(PLACE + 29);
/// PVCLOCK_GUEST_STOPPED.
const STOPPED: u8 = 2;

#[test]
fn the_soft_engine_tells() {
    is_told_once(&SoftEngine::default());
}

#[cfg(target_arch = "x86_64")]
#[test]
fn kvm_tells() {
    match kvm_engine::KvmEngine::open(std::path::Path::new(kvm_engine::DEVICE)) {
        Ok(engine) => is_told_once(&engine),
        Err(error) => println!("SKIPPED: {error}"),
    }
}

fn is_told_once(engine: &impl Engine) {
    let (mut vcpu, memory) = vcpu(engine, true);
    let mut flags_after = |told: bool| {
        if told {
            vcpu.tell_of_standstill().unwrap();
        }
        run_for(&mut vcpu, Duration::from_millis(20)).unwrap();
        memory.slots().read_obj::<u8>(FLAGS).unwrap() & STOPPED
    };
    assert_eq!(flags_after(false), 0);
    assert_eq!(flags_after(true), STOPPED);
    // The guest takes notice.
    memory.slots().write_obj(0u8, FLAGS).unwrap();
    assert_eq!(flags_after(false), 0);
    assert_eq!(flags_after(true), STOPPED);

    let (mut vcpu, memory) = self::vcpu(engine, false);
    vcpu.tell_of_standstill().unwrap();
    run_for(&mut vcpu, Duration::from_millis(20)).unwrap();
    assert_eq!(
        memory.slots().read_obj::<[u8; 32]>(GuestAddress(PLACE)).unwrap(),
        [0; 32],
        "nowhere to be told at"
    );
}

/// A vCPU that waits, and the memory that it sees; whether it uses kvmclock.
fn vcpu<E: Engine>(engine: &E, has_clock: bool) -> (<E::Vm as Vm>::Vcpu, GuestMemory) {
    let mut guest = Guest::long(0, WAIT);
    if has_clock {
        guest.msrs.push((msr::kvm::SYSTEM_TIME, PLACE | 1));
    }
    let memory = allocate().unwrap();
    memory.slots().write_slice(&guest.image(), GuestAddress(0)).unwrap();
    memory.slots().write_slice(&[0; 32], GuestAddress(PLACE)).unwrap();
    let vm = engine.create_vm(&VmConfig::of(engine, 1, None).unwrap(), &memory).unwrap();
    let mut vcpu = vm.create_vcpu(VcpuIndex(0)).unwrap();
    let state = initial(&guest, vcpu.state().unwrap());
    vcpu.set_state(&state).unwrap();
    (vcpu, memory)
}
