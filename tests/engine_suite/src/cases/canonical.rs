//! Addresses that are not canonical: #GP, or #SS where the stack segment is meant (SDM vol. 1, 3.3.7.1; vol. 3, 6.15).

use super::{Case, vector};
use crate::guest::Guest;
use crate::layout::*;
use crate::outcome::Expect;

const SECTION: &str = "SDM vol. 1, 3.3.7.1; vol. 3, 6.15, #SS";
const HOLE: u64 = 0x8000_0000_0000;

pub(super) fn cases() -> Vec<Case> {
    // Name, code, register that holds the address: RAX, RBP, RSP. Vector.
    type Set = fn(&mut Guest, u64);
    let (rax, rbp, rsp): (Set, Set, Set) = (
        |guest, value| guest.registers.rax = value,
        |guest, value| guest.registers.rbp = value,
        |guest, value| guest.registers.rsp = value,
    );
    let rows: [(&str, &[u8], Set, u8); 18] = [
        ("mov ecx, [rax]", &[0x8b, 0x08], rax, vector::GP),
        ("mov [rax], ecx", &[0x89, 0x08], rax, vector::GP),
        ("add [rax], rcx", &[0x48, 0x01, 0x08], rax, vector::GP),
        ("movups xmm0, [rax]", &[0x0f, 0x10, 0x00], rax, vector::GP),
        ("fld dword [rax]", &[0xd9, 0x00], rax, vector::GP),
        ("mov ecx, [rbp]", &[0x8b, 0x4d, 0x00], rbp, vector::SS),
        ("mov [rbp], ecx", &[0x89, 0x4d, 0x00], rbp, vector::SS),
        ("movups xmm0, [rbp]", &[0x0f, 0x10, 0x45, 0x00], rbp, vector::SS),
        ("fs mov ecx, [rbp]", &[0x64, 0x8b, 0x4d, 0x00], rbp, vector::GP),
        ("mov ecx, [rsp]", &[0x8b, 0x0c, 0x24], rsp, vector::SS),
        ("push rax", &[0x50], rsp, vector::SS),
        ("pop rax", &[0x58], rsp, vector::SS),
        ("call next", &[0xe8, 0, 0, 0, 0], rsp, vector::SS),
        ("ret", &[0xc3], rsp, vector::SS),
        ("leave", &[0xc9], rbp, vector::SS),
        ("iretq", &[0x48, 0xcf], rsp, vector::SS),
        ("pushfq", &[0x9c], rsp, vector::SS),
        ("lidt [rax]", &[0x0f, 0x01, 0x18], rax, vector::GP),
    ];
    let mut cases = Vec::new();
    for (name, code, set, fault) in rows {
        // PUSH stores below the stack pointer.
        let pushes = matches!(name, "push rax" | "call next" | "pushfq");
        for address in [HOLE + 0x1000, !HOLE - 0x1000] {
            let mut guest = Guest::long(0, code);
            set(&mut guest, address);
            cases.push(Case::new(
                format!("{name} at {address:#x}"),
                SECTION,
                guest.clone(),
                Expect::fault(&guest, fault, 0),
            ));
        }
        if !pushes {
            let mut guest = Guest::long(0, code);
            // The access begins at a canonical address (which is not mapped) and ends beyond.
            set(&mut guest, HOLE - 1);
            let expect = Expect::fault(&guest, fault, 0);
            cases.push(Case::new(format!("{name} across the edge"), SECTION, guest, expect));
        }
    }
    bases(&mut cases);
    branches(&mut cases);
    cases
}

/// What has to be canonical is the sum of base and offset, not the offset.
fn bases(cases: &mut Vec<Case>) {
    // fs or gs: mov ecx, [rax]
    for (name, prefix) in [("fs", 0x64), ("gs", 0x65)] {
        for (what, base, offset, refused) in [
            ("offset not canonical, sum is", HOLE - 1, DATA.wrapping_sub(HOLE - 1), false),
            ("offset beyond the hole, sum is canonical", !HOLE + 1, DATA + HOLE, false),
            ("offset canonical, sum is not", HOLE - 1, 0x1000, true),
            ("both halves of a sum that wraps", 0u64.wrapping_sub(0x1000), DATA + 0x1000, false),
        ] {
            let mut guest = Guest::long(0, &[prefix, 0x8b, 0x08]);
            guest.registers.rax = offset;
            let segment = if prefix == 0x64 { &mut guest.system.fs } else { &mut guest.system.gs };
            segment.base = base;
            guest.put64(DATA, 0x1234_5678);
            let expect = if refused {
                Expect::fault(&guest, vector::GP, 0)
            } else {
                Expect::done().value("rcx", |outcome| outcome.state.registers.rcx, 0x1234_5678)
            };
            cases.push(Case::new(format!("{name}: {what}"), SECTION, guest, expect));
        }
    }
}

/// Near branches fault themselves, before RIP changes (SDM vol. 2: JMP, CALL, RET).
fn branches(cases: &mut Vec<Case>) {
    let rows: [(&str, &[u8]); 3] =
        [("jmp rax", &[0xff, 0xe0]), ("call rax", &[0xff, 0xd0]), ("jmp [rbx]", &[0xff, 0x23])];
    for (name, code) in rows {
        let mut guest = Guest::long(0, code);
        guest.registers.rax = HOLE;
        guest.put64(DATA, HOLE);
        let expect = Expect::fault(&guest, vector::GP, 0).rsp(guest.registers.rsp);
        cases.push(Case::new(
            format!("{name} to an address that is not canonical"),
            "SDM vol. 2, JMP, CALL",
            guest,
            expect,
        ));
    }
    let mut guest = Guest::long(0, &[0xc3]);
    guest.push64(HOLE);
    let expect = Expect::fault(&guest, vector::GP, 0).rsp(guest.registers.rsp);
    cases.push(Case::new("ret to an address that is not canonical", "SDM vol. 2, RET", guest, expect));
    for (name, code) in [("retfq", &[0x48, 0xcb]), ("iretq", &[0x48, 0xcf])] {
        let mut guest = Guest::long(0, code);
        for value in [KERNEL_DATA_SELECTOR.into(), STACK - 0x100, 2] {
            guest.push64(value);
        }
        if name == "retfq" {
            guest.registers.rsp += 8;
        }
        guest.push64(KERNEL_CODE.into());
        guest.push64(HOLE);
        let expect = Expect::fault(&guest, vector::GP, 0);
        cases.push(Case::new(
            format!("{name} to an address that is not canonical"),
            "SDM vol. 2, RET and IRET",
            guest,
            expect,
        ));
    }
}
