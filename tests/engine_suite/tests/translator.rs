//! What is the translator's own: a code cache that is full over and over, of which guests must not notice anything, and
//! loops of returns, which have to be left.

use std::sync::mpsc;
use std::time::Duration;

use engine_suite::guest::Guest;
use engine_suite::layout::{CODE, CODE2};
use engine_suite::outcome::End;
use engine_suite::run;
use soft_engine::SoftEngine;

/// Turns of the loop, each of which is translated anew: together several times what the cache holds.
const TURNS: u64 = 3_000;

/// A loop that changes a constant of its own and of the function that it calls:
/// inc byte [the constant]; inc byte [rsi + 1]; add eax, the constant; call rsi; dec ecx; jnz back
fn guest() -> Guest {
    let loops = [
        &[0xfe, 0x05, 0x05, 0, 0, 0][..],
        &[0xfe, 0x46, 1],
        &[0x83, 0xc0, 0],
        &[0xff, 0xd6],
        &[0xff, 0xc9],
        &[0x75, 0xee],
    ];
    let mut guest = Guest::long(0, &loops.concat());
    // add al, a constant; ror eax, 1; ret
    guest.put(CODE2, &[0x04, 0, 0xd1, 0xc8, 0xc3]);
    (guest.registers.rsi, guest.registers.rcx) = (CODE2, TURNS);
    guest
}

/// Longer than a guest is waited for that does not end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The same in Rust.
fn expected() -> u64 {
    let (mut value, mut constant) = (0u32, 0u8);
    for _ in 0..TURNS {
        constant = constant.wrapping_add(1);
        value = value.wrapping_add(i32::from(constant as i8) as u32);
        let low = (value as u8).wrapping_add(constant);
        value = (value & !0xff | u32::from(low)).rotate_right(1);
    }
    value.into()
}

#[test]
fn a_guest_does_not_notice_that_code_is_dropped() {
    for engine in [SoftEngine::cramped(), SoftEngine::eager(), SoftEngine::interpreter()] {
        let outcome = run::run(&engine, &guest()).unwrap();
        assert_eq!(outcome.state.registers.rax, expected(), "{engine:?}: {:?}", outcome.end);
    }
}

#[test]
fn a_loop_of_returns_is_left_when_somebody_asks() {
    // call to the last ret; push rax; ret; ret, where RAX leads to the push
    let mut guest = Guest::long(0, &[0xe8, 2, 0, 0, 0, 0x50, 0xc3, 0xc3]);
    guest.registers.rax = CODE + 5;
    let (ended, end) = mpsc::channel();
    // A thread that cannot be stopped does not keep the test from failing.
    std::thread::spawn(move || {
        let outcome = run::run(&SoftEngine::eager(), &guest);
        ended.send(outcome.map(|outcome| outcome.end))
    });
    let end = end.recv_timeout(PATIENCE).expect("the vCPU stops");
    assert_eq!(end, Ok(End::Silence));
}
