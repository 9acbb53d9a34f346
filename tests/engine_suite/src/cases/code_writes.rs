//! Code that is written while it runs (SDM vol. 3, 8.1.3): by the same linear address with a branch between, and at
//! once, as Intel's processors since the P6 and AMD's have it; by another mapping, with a serializing instruction.

use super::Case;
use crate::guest::Guest;
use crate::layout::*;
use crate::outcome::Expect;
use crate::tables::{P, U, W};

const SECTION: &str = "SDM vol. 3, 8.1.3, 11.6";
/// What is written: mov al, 2 in place of mov al, 1. RCX is the address of the constant.
const WRITE: [u8; 3] = [0xc6, 0x01, 0x02];
const CONSTANT: [u8; 2] = [0xb0, 0x01];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let code = [&WRITE[..], &CONSTANT].concat();
    cases.push(case("the next instruction", &code, CODE + 4));
    let code = [&WRITE[..], &[0xeb, 0x00], &CONSTANT].concat();
    cases.push(case("behind a jump", &code, CODE + 6));
    // A loop: the body runs, is rewritten, and runs again. mov al, 1; dec edx; js out; mov byte [rcx], 2; jmp back
    let code = [&CONSTANT[..], &[0xff, 0xca, 0x78, 0x05], &WRITE, &[0xeb, 0xf5]].concat();
    let mut body = case("a loop's own body", &code, CODE + 1);
    body.guest.registers.rdx = 1;
    cases.push(body);
    // call [the second page]; write; call again.
    let call = [0xff, 0xd6];
    let code = [&call[..], &WRITE, &call].concat();
    let mut far = guest(&code, CODE2 + 1);
    far.put(CODE2, &[0xb0, 0x01, 0xc3]);
    far.registers.rsi = CODE2;
    cases.push(Case::new("a function in another page", SECTION, far, done()));
    crossing(&mut cases);
    aliased(&mut cases);
    strings(&mut cases);
    cases
}

fn guest(code: &[u8], constant: u64) -> Guest {
    let mut guest = Guest::long(0, code);
    guest.registers.rcx = constant;
    guest
}

fn done() -> Expect {
    Expect::done().rax(2)
}

fn case(name: &str, code: &[u8], constant: u64) -> Case {
    Case::new(format!("written: {name}"), SECTION, guest(code, constant), done())
}

/// An instruction whose bytes are in two pages; the one in the second is written, then the one in the first.
fn crossing(cases: &mut Vec<Case>) {
    let call = [0xff, 0xd6];
    let code = [&call[..], &WRITE, &call].concat();
    let mut second = guest(&code, CODE2);
    second.put(CODE2 - 1, &[0xb0, 0x01, 0xc3]);
    second.registers.rsi = CODE2 - 1;
    cases.push(Case::new("written: an instruction across pages, its second", SECTION, second, done()));
    // mov al, 1 becomes mov cl, 1 (B1): AL keeps what the first call and then XOR left.
    let write = [0xc6, 0x01, 0xb1];
    let clear = [0x31, 0xc0];
    let code = [&call[..], &write, &clear, &call].concat();
    let mut first = guest(&code, CODE2 - 1);
    first.put(CODE2 - 1, &[0xb0, 0x01, 0xc3]);
    first.registers.rsi = CODE2 - 1;
    let expect = Expect::done().rax(0);
    cases.push(Case::new("written: an instruction across pages, its first", SECTION, first, expect));
    // The next instruction crosses: the store changes its byte in the next page.
    let code = [&[0xeb, 0x00][..]].concat();
    let mut next = guest(&code, CODE2);
    next.put(CODE2 - 4, &[0xc6, 0x01, 0x02, 0xb0, 0x01, 0xcd, DONE]);
    next.registers.rip = CODE2 - 4;
    cases.push(Case::new("written: the next instruction, across pages", SECTION, next, done()));
}

/// Written by another linear address; CPUID serializes.
fn aliased(cases: &mut Vec<Case>) {
    // call rsi; mov byte [rbp], 2; cpuid; call rsi
    let code = [0xff, 0xd6, 0xc6, 0x45, 0x00, 0x02, 0x31, 0xc0, 0x0f, 0xa2, 0x31, 0xc0, 0xff, 0xd6];
    let mut alias = guest(&code, 0);
    alias.put(CODE2, &[0xb0, 0x01, 0xc3]);
    alias.map_test([P | W | U, P | W | U, P | W | U, P | W], CODE2);
    alias.registers.rsi = CODE2;
    alias.registers.rbp = TEST_ADDRESS + 1;
    cases.push(Case::new("written: by another mapping", SECTION, alias, done()));
    // Executed by the other mapping, written by the identity.
    let mut alias = guest(&code, 0);
    alias.put(CODE2, &[0xb0, 0x01, 0xc3]);
    alias.map_test([P | W | U, P | W | U, P | W | U, P | W], CODE2);
    alias.registers.rsi = TEST_ADDRESS;
    alias.registers.rbp = CODE2 + 1;
    cases.push(Case::new("written: executed by another mapping", SECTION, alias, done()));
}

/// Written by REP MOVSB and by a push.
fn strings(cases: &mut Vec<Case>) {
    let code = [0xff, 0xd0, 0xf3, 0xa4, 0xb8, 0, 0, 0, 0, 0xff, 0xd3];
    let mut guest = guest(&code, 2);
    guest.put(CODE2, &[0xb0, 0x01, 0xc3]);
    guest.put(DATA, &[0xb0, 0x02]);
    (guest.registers.rax, guest.registers.rbx) = (CODE2, CODE2);
    (guest.registers.rsi, guest.registers.rdi) = (DATA, CODE2);
    cases.push(Case::new("written: by rep movsb", SECTION, guest, done()));
    // push rdx over the function, with the stack pointer at its end.
    let code = [0xff, 0xd3, 0x48, 0x89, 0xe5, 0x48, 0x89, 0xf4, 0x52, 0x48, 0x89, 0xec, 0xff, 0xd3];
    let mut guest = self::guest(&code, 0);
    guest.put(CODE2, &[0xb0, 0x01, 0xc3]);
    guest.registers.rbx = CODE2;
    guest.registers.rsi = CODE2 + 8;
    guest.registers.rdx = u64::from_le_bytes([0xb0, 2, 0xc3, 0, 0, 0, 0, 0]);
    cases.push(Case::new("written: by a push", SECTION, guest, done()));
}
