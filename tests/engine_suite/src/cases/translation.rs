//! When changed page tables count: INVLPG, CR3, global pages, PCIDs, INVPCID (SDM vol. 3, 4.10).
//!
//! Each case loads from [`TEST_ADDRESS`], which fills translations, changes the page-table entry, invalidates, and
//! loads again. Only what has to be seen afterwards is expected: the manual lets a CPU forget more.

use super::{Case, vector};
use crate::guest::{CR4_LONG, CR4_PCIDE, Guest};
use crate::layout::*;
use crate::outcome::Expect;
use crate::tables::{A, D, G, P, PS, U, W};

const SECTION: &str = "SDM vol. 3, 4.10.4";
/// mov eax, [rbx]; mov [rsi], rdi: the load, and the entry's change.
const PROLOGUE: [u8; 5] = [0x8b, 0x03, 0x48, 0x89, 0x3e];
const LOAD: [u8; 2] = [0x8b, 0x03];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    // mov rcx, cr3; mov cr3, rcx
    let reload: &[u8] = &[0x0f, 0x20, 0xd9, 0x0f, 0x22, 0xd9];
    // mov rcx, cr4; xor rcx, PGE; mov cr4, rcx; again
    let toggle: &[u8] = &[0x0f, 0x20, 0xe1, 0x48, 0x81, 0xf1, 0x80, 0, 0, 0, 0x0f, 0x22, 0xe1];
    let rows: [(&str, &[u8], u64); 5] = [
        ("invlpg", &[0x0f, 0x01, 0x3b], 0),
        ("invlpg of a global page", &[0x0f, 0x01, 0x3b], G),
        ("invlpg of another byte of the page", &[0x0f, 0x01, 0x7b, 0x7f], 0),
        ("a load of CR3", reload, 0),
        ("a change of CR4.PGE, of a global page", toggle, G),
    ];
    for (name, code, flags) in rows {
        let guest = guest(&[&PROLOGUE, code, &LOAD].concat(), flags, TEST_PAGE_B | P | W | U | A | D);
        cases.push(Case::new(
            format!("remapped, seen after {name}"),
            SECTION,
            guest,
            Expect::done().rax(0xb),
        ));
        let guest = self::guest(&[&PROLOGUE, code, &LOAD].concat(), flags, 0);
        let rip = guest.start + (PROLOGUE.len() + code.len()) as u64;
        let expect = Expect::fault_at(vector::PF, 0, rip).cr2(TEST_ADDRESS);
        cases.push(Case::new(format!("unmapped, seen after {name}"), SECTION, guest, expect));
    }
    filled(&mut cases);
    spaces(&mut cases);
    large_pages(&mut cases);
    crossing_code(&mut cases);
    refusals(&mut cases);
    cases
}

/// The address leads to a page with 0xa; `entry` is what the code changes the entry to; page B has 0xb.
fn guest(code: &[u8], flags: u64, entry: u64) -> Guest {
    let mut guest = Guest::long(0, code);
    guest.map_test([P | W | U, P | W | U, P | W | U, P | W | U | flags], TEST_PAGE);
    guest.put64(TEST_PAGE, 0xa);
    guest.put64(TEST_PAGE_B, 0xb);
    guest.registers.rbx = TEST_ADDRESS;
    guest.registers.rsi = TEST_PT + 8;
    guest.registers.rdi = entry;
    guest
}

/// What was not present is not remembered (SDM vol. 3, 4.10.2.3); a fault forgets what it was about (4.10.4.1).
fn filled(cases: &mut Vec<Case>) {
    // mov [rsi], rdi; mov eax, [rbx] with the entry absent before.
    let mut guest = guest(&[0x48, 0x89, 0x3e, 0x8b, 0x03], 0, TEST_PAGE_B | P | W | U);
    guest.put64(TEST_PT + 8, 0);
    cases.push(Case::new("mapped, seen at once", "SDM vol. 3, 4.10.2.3", guest, Expect::done().rax(0xb)));
}

/// Calls what RBX leads to several times, executes `change`, and calls it once more, with RAX 0.
fn calls_around(change: &[u8]) -> Guest {
    // call rbx; dec ecx; jnz back; change; xor eax, eax; call rbx
    let call = [0xff, 0xd3];
    let code = [&call[..], &[0xff, 0xc9, 0x75, 0xfa], change, &[0x31, 0xc0], &call].concat();
    let mut guest = Guest::long(0, &code);
    guest.registers.rcx = 6;
    guest
}

/// A large page, changed, and INVLPG of one byte of it: every translation of the page is forgotten (SDM vol. 3,
/// 4.10.4.1), that of code as that of data, wherever in the page the byte is.
fn large_pages(cases: &mut Vec<Case>) {
    const START: u64 = TEST_ADDRESS & !0x1f_ffff;
    let build = |mut guest: Guest, byte: u64| {
        guest.map_test([P | W | U, P | W | U, 0, 0], 0);
        guest.put64(TEST_PD + 8, P | W | A | D | PS);
        guest.put64(TEST_PT + 8 * (TEST_PAGE >> 12), TEST_PAGE_B | P | W | A);
        guest.registers.rbx = START + TEST_PAGE;
        (guest.registers.rsi, guest.registers.rdi) = (TEST_PD + 8, TEST_PT | P | W | U);
        guest.registers.rbp = START + byte;
        guest
    };
    // and qword [rsi], 0; invlpg [rbp]; and then mov [rsi], rdi: a table of small pages.
    let unmap: &[u8] = &[0x48, 0x83, 0x26, 0, 0x0f, 0x01, 0x7d, 0];
    let split = [unmap, &[0x48, 0x89, 0x3e]].concat();
    for (which, byte) in [("that byte", TEST_PAGE), ("another byte", 0x3000)] {
        let mut push = |what: &str, guest: Guest, expect: Expect| {
            let name = format!("{what}, seen after invlpg of {which}");
            cases.push(Case::new(name, "SDM vol. 3, 4.10.4.1", guest, expect));
        };
        let code = |change: &[u8]| {
            let mut guest = build(calls_around(change), byte);
            guest.put(TEST_PAGE, &[0xb0, 0xa, 0xc3]);
            guest.put(TEST_PAGE_B, &[0xb0, 0xb, 0xc3]);
            guest
        };
        let expect = Expect::fault_at(vector::PF, 1 << 4, START + TEST_PAGE).cr2(START + TEST_PAGE);
        push("code in a large page, unmapped", code(unmap), expect);
        push("code in a large page, then in a small one", code(&split), Expect::done().rax(0xb));
        let data = |change: &[u8]| {
            let mut guest = build(Guest::long(0, &[&LOAD, change, &LOAD].concat()), byte);
            guest.put64(TEST_PAGE, 0xa);
            guest.put64(TEST_PAGE_B, 0xb);
            guest
        };
        let guest = data(unmap);
        let second = guest.start + (LOAD.len() + unmap.len()) as u64;
        let expect = Expect::fault_at(vector::PF, 0, second).cr2(START + TEST_PAGE);
        push("data in a large page, unmapped", guest, expect);
        push("data in a large page, then in a small one", data(&split), Expect::done().rax(0xb));
    }
}

/// An instruction whose bytes are in two pages, the second of which is remapped.
fn crossing_code(cases: &mut Vec<Case>) {
    for entry in [TEST_PAGE_B | P | W, 0] {
        // mov [rsi], rdi; invlpg [rbp]
        let mut guest = calls_around(&[0x48, 0x89, 0x3e, 0x0f, 0x01, 0x7d, 0]);
        guest.map_test([P | W | U, P | W | U, P | W | U, P | W], TEST_PAGE);
        guest.put64(TEST_PT + 16, DATA | P | W);
        // mov al, imm8; ret
        guest.put(TEST_PAGE + 0xfff, &[0xb0]);
        guest.put(DATA, &[0xa, 0xc3]);
        guest.put(TEST_PAGE_B, &[0xb, 0xc3]);
        guest.registers.rbx = TEST_ADDRESS + 0xfff;
        (guest.registers.rsi, guest.registers.rdi) = (TEST_PT + 16, entry);
        guest.registers.rbp = TEST_ADDRESS + 0x1000;
        let (what, expect) = match entry {
            0 => {
                let fault = Expect::fault_at(vector::PF, 1 << 4, TEST_ADDRESS + 0xfff);
                ("unmapped", fault.cr2(TEST_ADDRESS + 0x1000))
            }
            _ => ("remapped", Expect::done().rax(0xb)),
        };
        let name = format!("an instruction across pages, its second {what}, seen after invlpg");
        cases.push(Case::new(name, SECTION, guest, expect));
    }
}

/// PCIDs: a second root without the test address, and back.
fn spaces(cases: &mut Vec<Case>) {
    // mov eax, [rbx]; mov cr3, rcx; mov eax, [rbx]
    let code = [0x8b, 0x03, 0x0f, 0x22, 0xd9, 0x8b, 0x03];
    for (name, root, pages, value) in [
        ("another PCID has its own translations", PML4_B | 5, PML4_B, None),
        ("another root under the same PCID", PML4_B | 1, PML4_B, None),
        ("the same root under another PCID", PML4 | 5, PML4, Some(0xa)),
        ("the same root and PCID, kept", PML4 | 1 | 1 << 63, PML4, Some(0xa)),
    ] {
        let mut guest = guest(&code, 0, 0);
        guest.system.cr4 = CR4_LONG | CR4_PCIDE;
        guest.system.cr3 |= 1;
        guest.registers.rcx = root;
        guest.put64(PML4_B, (PML4 + 0x1000) | P | W | U | A);
        let expect = match value {
            Some(value) => Expect::done().rax(value),
            None => Expect::fault_at(vector::PF, 0, guest.start + 5).cr2(TEST_ADDRESS),
        };
        let expect = expect.value("cr3 without bit 63", |outcome| outcome.state.system.cr3 & !0xfff, pages);
        cases.push(Case::new(name, "SDM vol. 3, 4.10.4.1", guest, expect));
    }
    // invpcid rcx, [rdx]: every type that covers this address and PCID 0.
    for kind in 0..4u64 {
        for flags in [0, G] {
            // Of these only type 2 reaches global translations for sure (type 0 and 1 may leave them).
            if flags == G && kind != 2 {
                continue;
            }
            let invpcid: &[u8] = &[0x66, 0x0f, 0x38, 0x82, 0x0a];
            let mut guest = guest(&[&PROLOGUE, invpcid, &LOAD].concat(), flags, TEST_PAGE_B | P | W | U);
            (guest.registers.rcx, guest.registers.rdx) = (kind, DATA);
            guest.put64(DATA + 8, TEST_ADDRESS);
            let name = format!("remapped, seen after invpcid type {kind}, flags {flags:#x}");
            cases.push(Case::new(name, "SDM vol. 2, INVPCID", guest, Expect::done().rax(0xb)));
        }
    }
}

/// INVPCID and INVLPG that are refused, or do nothing.
fn refusals(cases: &mut Vec<Case>) {
    let hole = 0x8000_0000_0000u64;
    let rows: [(&str, u8, u64, [u64; 2]); 6] = [
        ("type 4", 0, 4, [0, 0]),
        ("type 0, bit 12", 0, 0, [1 << 12, 0]),
        ("type 0, PCID 1 without PCIDE", 0, 0, [1, 0]),
        ("type 1, PCID 1 without PCIDE", 0, 1, [1, 0]),
        ("type 0, address not canonical", 0, 0, [0, hole]),
        ("type 2 at cpl 3", 3, 2, [0, 0]),
    ];
    for (name, cpl, kind, descriptor) in rows {
        let mut guest = Guest::long(cpl, &[0x66, 0x0f, 0x38, 0x82, 0x0a]);
        (guest.registers.rcx, guest.registers.rdx) = (kind, DATA);
        guest.put64(DATA, descriptor[0]);
        guest.put64(DATA + 8, descriptor[1]);
        let expect = Expect::fault(&guest, vector::GP, 0);
        cases.push(Case::new(format!("invpcid {name}"), "SDM vol. 2, INVPCID", guest, expect));
    }
    let mut guest = Guest::long(0, &[0x0f, 0x01, 0x3b]);
    guest.registers.rbx = hole;
    cases.push(Case::new("invlpg of an address not canonical", "SDM vol. 2, INVLPG", guest, Expect::done()));
    let mut guest = Guest::long(3, &[0x0f, 0x01, 0x3b]);
    guest.registers.rbx = DATA;
    let expect = Expect::fault(&guest, vector::GP, 0);
    cases.push(Case::new("invlpg at cpl 3", "SDM vol. 2, INVLPG", guest, expect));
}
