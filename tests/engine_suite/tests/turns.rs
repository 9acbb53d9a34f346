//! Two vCPUs of which one executes at a time, as on hosts whose processors order memory accesses less strictly than
//! x86's: a guest that starts its second processor, and whose processors exclude each other by plain loads and stores.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

use std::time::Duration;

use engine_suite::guest::Guest;
use engine_suite::layout::{CODE2, DATA, DONE};
use engine_suite::outcome::End;
use engine_suite::run::{DebugPort, allocate, initial, outcome, read_ram, run_for};
use guest_memory::{Bytes, GuestAddress};
use soft_engine::SoftEngine;
use vcpu_model::{Engine, Halt, Vcpu, VcpuIndex, Vm, VmConfig};

/// Longer than the guest takes, on a loaded machine and on one that is emulated.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often each processor adds one to the counter.
const ROUNDS: u64 = 2_000;
/// The counter; before it a byte each: who wants to count, whose turn it is (Peterson), whether the second has begun or
/// ended.
const COUNTER: u64 = DATA + 4;

/// 64-bit code, RBX is DATA.
#[rustfmt::skip]
const FIRST: &[u8] = &[
    0xb9, 0x1b, 0, 0, 0,             // mov ecx, APIC_BASE
    0x0f, 0x32,                      // rdmsr
    0x0d, 0x00, 0x04, 0, 0,          // or eax, 400h: x2APIC (SDM vol. 3, 11.12.1)
    0x0f, 0x30,                      // wrmsr
    0xb9, 0x30, 0x08, 0, 0,          // mov ecx, x2APIC ICR
    0x31, 0xd2,                      // xor edx, edx
    0xb8, 0x00, 0x45, 0x0c, 0x00,    // mov eax, INIT to all others (11.6.1)
    0x0f, 0x30,                      // wrmsr
    0xb8, 0x07, 0x46, 0x0c, 0x00,    // mov eax, start-up at page 7
    0x0f, 0x30,                      // wrmsr
    0x80, 0x7b, 0x03, 0x00,          // start: cmp byte [rbx + 3], 0
    0x74, 0xfa,                      // je start
    0xb9, 0xd0, 0x07, 0, 0,          // mov ecx, ROUNDS
    0xc6, 0x03, 0x01,                // again: mov byte [rbx], 1
    0xc6, 0x43, 0x02, 0x01,          // mov byte [rbx + 2], 1
    0x80, 0x7b, 0x01, 0x00,          // wait: cmp byte [rbx + 1], 0
    0x74, 0x06,                      // je count
    0x80, 0x7b, 0x02, 0x01,          // cmp byte [rbx + 2], 1
    0x74, 0xf4,                      // je wait
    0x8b, 0x43, 0x04,                // count: mov eax, [rbx + 4]
    0xff, 0xc0,                      // inc eax
    0x89, 0x43, 0x04,                // mov [rbx + 4], eax
    0xc6, 0x03, 0x00,                // mov byte [rbx], 0
    0xe2, 0xe0,                      // loop again
    0x80, 0x7b, 0x03, 0x02,          // end: cmp byte [rbx + 3], 2
    0x75, 0xfa,                      // jne end
];

/// 16-bit code at the start of its page.
#[rustfmt::skip]
const SECOND: &[u8] = &[
    0xb8, 0x00, 0x08,                // mov ax, DATA / 16
    0x8e, 0xd8,                      // mov ds, ax
    0xc6, 0x06, 0x03, 0x00, 0x01,    // mov byte [3], 1
    0xb9, 0xd0, 0x07,                // mov cx, ROUNDS
    0xc6, 0x06, 0x01, 0x00, 0x01,    // again: mov byte [1], 1
    0xc6, 0x06, 0x02, 0x00, 0x00,    // mov byte [2], 0
    0x80, 0x3e, 0x00, 0x00, 0x00,    // wait: cmp byte [0], 0
    0x74, 0x07,                      // je count
    0x80, 0x3e, 0x02, 0x00, 0x00,    // cmp byte [2], 0
    0x74, 0xf2,                      // je wait
    0xa1, 0x04, 0x00,                // count: mov ax, [4]
    0x40,                            // inc ax
    0xa3, 0x04, 0x00,                // mov [4], ax
    0xc6, 0x06, 0x01, 0x00, 0x00,    // mov byte [1], 0
    0xe2, 0xda,                      // loop again
    0xc6, 0x06, 0x03, 0x00, 0x02,    // mov byte [3], 2
    0xfa,                            // cli
    0xf4,                            // hlt
];

#[test]
fn two_vcpus_take_turns() {
    let mut guest = Guest::long(0, FIRST);
    guest.put(CODE2, SECOND);
    let memory = allocate().unwrap();
    memory.slots().write_slice(&guest.image(), GuestAddress(0)).unwrap();
    let engine = SoftEngine::one_vcpu_at_a_time();
    let vm = engine.create_vm(&VmConfig::of(&engine, 2, None).unwrap(), &memory).unwrap();
    let mut first = vm.create_vcpu(VcpuIndex(0)).unwrap();
    let mut second = vm.create_vcpu(VcpuIndex(1)).unwrap();
    first.set_state(&initial(&guest, first.state().unwrap())).unwrap();

    let end_of_second = second.kicker();
    let ended = std::thread::scope(|scope| {
        let io = DebugPort::new(&second);
        let other = scope.spawn(move || second.run(&io));
        let ended = run_for(&mut first, PATIENCE);
        end_of_second.kick();
        assert_eq!(other.join().unwrap().unwrap(), Halt::Kicked);
        ended.unwrap()
    });
    let came = outcome(&guest, ended, first.state().unwrap(), read_ram(&memory).unwrap());
    assert_eq!(came.end, End::Event(DONE), "{:x?} {:x?}", came.frame, came.memory(DATA));
    assert_eq!(came.memory(COUNTER) & 0xffff_ffff, 2 * ROUNDS);
}
