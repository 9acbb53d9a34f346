//! Near calls and returns (SDM vol. 1, 6.4): a return leads to what is on the stack, whatever call put it there, and
//! finds the translation and the bytes that are there now.

use super::{Case, vector};
use crate::guest::Guest;
use crate::layout::*;
use crate::outcome::Expect;
use crate::tables::{A, P, U, W};

const SECTION: &str = "SDM vol. 1, 6.4.1; vol. 2, CALL, RET";
/// ADD EAX, imm8.
const ADD_EAX: [u8; 2] = [0x83, 0xc0];
/// CALL RSI, which leads to [`CODE2`].
const CALL: [u8; 2] = [0xff, 0xd6];
const RET: u8 = 0xc3;
/// Calls after which a translator knows its ways.
const CALLS: u64 = 6;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    paired(&mut cases);
    unpaired(&mut cases);
    changed(&mut cases);
    remapped(&mut cases);
    cases
}

/// `code`, with a function at [`CODE2`] that RSI leads to.
fn guest(code: &[u8], function: &[u8]) -> Guest {
    let mut guest = Guest::long(0, code);
    guest.put(CODE2, function);
    guest.registers.rsi = CODE2;
    guest
}

fn case(name: &str, guest: Guest, rax: u64) -> Case {
    Case::new(format!("return: {name}"), SECTION, guest, Expect::done().rax(rax))
}

/// Each return to its call.
fn paired(cases: &mut Vec<Case>) {
    // Twice from each of two places: call; add eax, 1; call; add eax, 16; dec ecx; jnz.
    let code = [&CALL, &ADD_EAX[..], &[1], &CALL, &ADD_EAX, &[16], &[0xff, 0xc9, 0x75, 0xf2]].concat();
    let mut loops = guest(&code, &[&ADD_EAX[..], &[64, RET]].concat());
    loops.registers.rcx = 2;
    cases.push(case("to two places in turn", loops, 2 * (1 + 16 + 2 * 64)));
    // push rbp; call; the function takes the operand away.
    let code = [&[0x55][..], &CALL, &[0x48, 0x89, 0xe0]].concat();
    let pops = guest(&code, &[0xc2, 8, 0]);
    let rsp = pops.registers.rsp;
    cases.push(case("that takes operands away", pops, rsp));
    // A function that calls itself: add eax, 1; dec ecx; jz +2; call rsi; ret.
    let mut deep = guest(&CALL, &[&ADD_EAX[..], &[1, 0xff, 0xc9, 0x74, 2], &CALL, &[RET]].concat());
    deep.registers.rcx = 200;
    cases.push(case("from 200 calls of a function by itself", deep, 200));
    // The last instruction of a page calls: behind it is the next page.
    let mut edge = guest(&[0xff, 0xe5], &[&ADD_EAX[..], &[1, 0xcd, DONE]].concat());
    edge.put(CODE2 - 2, &CALL);
    edge.put(CODE2 + 0x40, &[&ADD_EAX[..], &[2, RET]].concat());
    (edge.registers.rbp, edge.registers.rsi) = (CODE2 - 2, CODE2 + 0x40);
    cases.push(case("into the page behind the call's", edge, 3));
}

/// Returns that no call belongs to.
fn unpaired(cases: &mut Vec<Case>) {
    // The function gives itself another return address: mov [rsp], rbp; ret.
    let mut other = guest(&[&CALL, &ADD_EAX[..], &[1]].concat(), &[0x48, 0x89, 0x2c, 0x24, RET]);
    other.put(CODE + 0x80, &[&ADD_EAX[..], &[2, 0xcd, DONE]].concat());
    other.registers.rbp = CODE + 0x80;
    cases.push(case("to an address that the function put there", other, 2));
    // After a call from this stack slot: push rbp; ret.
    let mut pushed = guest(&[&CALL[..], &[0x55, RET]].concat(), &[&ADD_EAX[..], &[1, RET]].concat());
    pushed.put(CODE + 0x80, &[&ADD_EAX[..], &[2, 0xcd, DONE]].concat());
    pushed.registers.rbp = CODE + 0x80;
    cases.push(case("to an address that was pushed", pushed, 3));
    // add rsp, 8; ret: past a frame. The inner function is at 0x40 behind the outer one.
    let mut past =
        guest(&[&CALL, &ADD_EAX[..], &[1]].concat(), &[&[0xff, 0xd5], &ADD_EAX[..], &[2, RET]].concat());
    past.put(CODE2 + 0x40, &[0x48, 0x83, 0xc4, 8, RET]);
    past.registers.rbp = CODE2 + 0x40;
    cases.push(case("past a frame", past, 1));
    // The function goes on on another stack: mov rax, [rsp]; mov [rbx], rax; mov rsp, rbx; xor eax, eax; ret.
    let switch = [0x48, 0x8b, 0x04, 0x24, 0x48, 0x89, 0x03, 0x48, 0x89, 0xdc, 0x31, 0xc0, RET];
    let moved = guest(&[&CALL, &ADD_EAX[..], &[1]].concat(), &switch);
    cases.push(case("from another stack", moved, 1));
    // push 0; ret
    let mut zero = guest(&[0x6a, 0, RET], &[]);
    zero.put(0, &[&ADD_EAX[..], &[4, 0xcd, DONE]].concat());
    cases.push(case("to address 0", zero, 4));
}

/// The last call but one finds other bytes behind it than those before: `dec edx; jnz +N; write; ret`.
fn changed(cases: &mut Vec<Case>) {
    // call; mov al, 1; dec ecx; jnz back; the function writes the constant by RBX.
    let code = [&CALL[..], &[0xb0, 1, 0xff, 0xc9, 0x75, 0xf8]].concat();
    let write = [0xff, 0xca, 0x75, 3, 0xc6, 0x03, 2, RET];
    let mut own = guest(&code, &write);
    (own.registers.rcx, own.registers.rdx, own.registers.rbx) = (CALLS, CALLS - 1, CODE + 3);
    cases.push(case("to code that the function has written", own, 2));
    let mut alias = guest(&code, &write);
    alias.map_test([P | W | U, P | W | U, P | W | U, P | W], CODE);
    (alias.registers.rcx, alias.registers.rdx) = (CALLS, CALLS - 1);
    alias.registers.rbx = TEST_ADDRESS + 3;
    cases.push(case("to code that the function has written by another mapping", alias, 2));
}

/// The caller's page becomes another one while the function runs, at its last call but one.
fn remapped(cases: &mut Vec<Case>) {
    // invlpg [rbx]; mov rax, cr3, mov cr3, rax; mov cr3, rbp
    let ways: [(&str, &[u8]); 3] = [
        ("invlpg", &[0x0f, 0x01, 0x3b]),
        ("a load of CR3", &[0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8]),
        ("another CR3", &[0x0f, 0x22, 0xdd]),
    ];
    for (name, forget) in ways {
        let guest = remapping(forget, TEST_PAGE_B | P | W);
        cases.push(case(&format!("into a page remapped by {name}"), guest, 0xb));
        let guest = remapping(forget, 0);
        // Bits of the error code: a fetch (EFER.NXE is set).
        let expect = Expect::fault_at(vector::PF, 1 << 4, TEST_ADDRESS + 2).cr2(TEST_ADDRESS + 2);
        cases.push(Case::new(format!("return: into a page unmapped by {name}"), SECTION, guest, expect));
    }
}

/// Page A: call rsi; mov al, 0xa; dec ecx; jnz back. Page B has mov al, 0xb behind its call, and the end.
fn remapping(forget: &[u8], entry: u64) -> Guest {
    // dec edx; jnz over; mov [rdi], r8; forget; ret
    let function = [&[0xff, 0xca, 0x75, 3 + forget.len() as u8, 0x4c, 0x89, 0x07], forget, &[RET]].concat();
    let mut guest = guest(&[0xff, 0xe3], &function);
    guest.map_test([P | W | U, P | W | U, P | W | U, P | W], TEST_PAGE);
    guest.put(TEST_PAGE, &[&CALL[..], &[0xb0, 0xa, 0xff, 0xc9, 0x75, 0xf8, 0xcd, DONE]].concat());
    guest.put(TEST_PAGE_B, &[&CALL[..], &[0xb8, 0xb, 0, 0, 0, 0xcd, DONE]].concat());
    for index in 0..2 {
        let entry = [PML4 + 0x1000, TEST_PDPT][index as usize] | P | W | U | A;
        guest.put64(PML4_B + 8 * index, entry);
    }
    guest.registers.rbx = TEST_ADDRESS;
    (guest.registers.rdi, guest.registers.r8) = (TEST_PT + 8, entry);
    guest.registers.rbp = PML4_B;
    (guest.registers.rcx, guest.registers.rdx) = (CALLS, CALLS - 1);
    guest
}
