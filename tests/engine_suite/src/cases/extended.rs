//! Extended state: who may enable it, what needs it enabled, and what XRSTOR refuses (SDM vol. 1, ch. 13; vol. 2, under
//! each instruction).

use super::{Case, Refusal, vector};
use crate::guest::{CR4_OSXSAVE, Guest};
use crate::layout::*;
use crate::outcome::{Expect, Outcome};

const XCR: &str = "SDM vol. 2, XSETBV and XGETBV; vol. 1, 13.3";
const VEX: &str = "SDM vol. 2, 2.4 and table 2-18";
const ZERO: &str = "SDM vol. 2, VZEROALL and VZEROUPPER";
const RESTORE: &str = "SDM vol. 1, 13.8; vol. 2, XRSTOR";
const GATHER: &str = "SDM vol. 2, VPGATHERDD";

/// x87, SSE and AVX.
const ALL: u64 = 7;
/// CR0.EM and CR0.TS.
const EM: u64 = 1 << 2;
const TS: u64 = 1 << 3;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    enables(&mut cases);
    needs(&mut cases);
    prefixes(&mut cases);
    zeroing(&mut cases);
    restores(&mut cases);
    gathers(&mut cases);
    cases
}

/// 64-bit code on a CPU with AVX, enabled; vector register n is full of bytes n + 1.
fn guest(cpl: u8, code: &[u8]) -> Guest {
    let mut guest = Guest::long(cpl, code);
    guest.system.cr4 |= CR4_OSXSAVE;
    guest.xcr0 = Some(ALL);
    guest
}

/// Eight bytes of the extended state, at an offset of the standard form (SDM vol. 1, 13.4).
fn saved(outcome: &Outcome, at: usize) -> u64 {
    let bytes = outcome.state.extended.xsave.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    // A component that is not there is at its initial value.
    bytes.map_or(0, u64::from_le_bytes)
}

fn push(
    cases: &mut Vec<Case>,
    name: impl Into<String>,
    section: &'static str,
    guest: Guest,
    refused: Refusal,
) {
    let expect = match refused {
        Some((fault, error)) => Expect::fault(&guest, fault, error),
        None => Expect::done(),
    };
    cases.push(Case::new(name, section, guest, expect));
}

/// XSETBV and XGETBV.
fn enables(cases: &mut Vec<Case>) {
    const SET: &[u8] = &[0x0f, 0x01, 0xd1];
    const GET: &[u8] = &[0x0f, 0x01, 0xd0];
    const GP: Refusal = Some((vector::GP, 0));
    let rows: [(&str, u64, u64, Refusal); 10] = [
        ("x87 alone", 0, 1, None),
        ("x87 and SSE", 0, 3, None),
        ("AVX", 0, 7, None),
        ("nothing", 0, 0, GP),
        ("SSE without x87", 0, 2, GP),
        ("AVX without SSE", 0, 5, GP),
        ("a component that the CPU lacks", 0, 7 | 1 << 3, GP),
        ("bit 62", 0, 7 | 1 << 62, GP),
        ("bit 63", 0, 7 | 1 << 63, GP),
        ("a register that does not exist", 1, 7, GP),
    ];
    for (what, index, value, refused) in rows {
        let mut guest = guest(0, SET);
        guest.registers.rcx = index;
        (guest.registers.rax, guest.registers.rdx) = (value & 0xffff_ffff, value >> 32);
        let expect = match refused {
            Some((fault, error)) => Expect::fault(&guest, fault, error),
            None => Expect::done().value("xcr0", |outcome| outcome.state.extended.xcr0, value),
        };
        cases.push(Case::new(format!("xsetbv: {what}"), XCR, guest, expect));
    }
    let mut user = guest(3, SET);
    user.registers.rax = ALL;
    push(cases, "xsetbv at cpl 3", XCR, user, GP);
    for (name, code) in [("xsetbv", SET), ("xgetbv", GET)] {
        let mut off = guest(0, code);
        off.system.cr4 &= !CR4_OSXSAVE;
        off.registers.rax = ALL;
        push(cases, format!("{name} without OSXSAVE"), XCR, off, Some((vector::UD, 0)));
        let mut locked = guest(0, &[&[0xf0], code].concat());
        locked.registers.rax = ALL;
        push(cases, format!("lock {name}"), XCR, locked, Some((vector::UD, 0)));
    }
    let read = guest(3, GET);
    cases.push(Case::new("xgetbv at cpl 3", XCR, read, Expect::done().rax(ALL)));
    let mut none = guest(0, GET);
    none.registers.rcx = 2;
    push(cases, "xgetbv of a register that does not exist", XCR, none, GP);
}

/// What instructions with a VEX prefix need: those on vector registers the OS's consent, those on general ones nothing.
fn needs(cases: &mut Vec<Case>) {
    // vaddps ymm0, ymm1, ymm2; vmovups xmm0, [rbx]; vpxor xmm0, xmm0, xmm0
    let vectors: [(&str, &[u8]); 3] = [
        ("vaddps", &[0xc5, 0xf4, 0x58, 0xc2]),
        ("vmovups", &[0xc5, 0xf8, 0x10, 0x03]),
        ("vpxor", &[0xc5, 0xf9, 0xef, 0xc0]),
    ];
    // andn rax, rbx, rcx; rorx rax, rbx, 1
    let general: [(&str, &[u8]); 2] =
        [("andn", &[0xc4, 0xe2, 0xe0, 0xf2, 0xc1]), ("rorx", &[0xc4, 0xe3, 0xfb, 0xf0, 0xc3, 0x01])];
    let rows: [(&str, u64, u64, u64, Refusal); 7] = [
        ("with all that it needs", CR4_OSXSAVE, ALL, 0, None),
        ("with EM, which is none of its business", CR4_OSXSAVE, ALL, EM, None),
        ("without OSXSAVE", 0, ALL, 0, Some((vector::UD, 0))),
        ("with SSE enabled alone", CR4_OSXSAVE, 3, 0, Some((vector::UD, 0))),
        ("with x87 enabled alone", CR4_OSXSAVE, 1, 0, Some((vector::UD, 0))),
        ("with TS", CR4_OSXSAVE, ALL, TS, Some((vector::NM, 0))),
        ("without OSXSAVE and with TS", 0, ALL, TS, Some((vector::UD, 0))),
    ];
    for (what, cr4, xcr0, cr0, refused) in rows {
        let of_vectors = vectors.iter().map(|(name, code)| (name, code, refused));
        let of_others = general.iter().map(|(name, code)| (name, code, None));
        for (name, code, refused) in of_vectors.chain(of_others) {
            let mut guest = guest(0, code);
            guest.system.cr4 = guest.system.cr4 & !CR4_OSXSAVE | cr4;
            guest.system.cr0 |= cr0;
            guest.xcr0 = Some(xcr0);
            push(cases, format!("{name} {what}"), VEX, guest, refused);
        }
    }
    // A fault of the operand comes after.
    let mut absent = guest(0, &[0xc5, 0xf8, 0x10, 0x03]);
    absent.registers.rbx = TEST_ADDRESS;
    absent.system.cr0 |= TS;
    push(cases, "vmovups with TS from a page that is absent", VEX, absent, Some((vector::NM, 0)));
}

/// Prefixes that may not stand before VEX (SDM vol. 2, 2.3.2 and 2.3.3).
fn prefixes(cases: &mut Vec<Case>) {
    for (what, prefix) in [("66", 0x66), ("f2", 0xf2), ("f3", 0xf3), ("lock", 0xf0), ("rex", 0x48)] {
        let guest = guest(0, &[prefix, 0xc5, 0xf4, 0x58, 0xc2]);
        push(cases, format!("{what} vaddps"), "SDM vol. 2, 2.3.2, 2.3.3", guest, Some((vector::UD, 0)));
    }
    let guest = guest(0, &[0x2e, 0xc5, 0xf4, 0x58, 0xc2]);
    push(cases, "cs vaddps", "SDM vol. 2, 2.3.4", guest, None);
}

/// In 64-bit mode all sixteen registers, elsewhere eight.
fn zeroing(cases: &mut Vec<Case>) {
    const ALL_OF_IT: &[u8] = &[0xc5, 0xfc, 0x77];
    const UPPER: &[u8] = &[0xc5, 0xf8, 0x77];
    let pattern = |register: u64| 0x0101_0101_0101_0101 * (register + 1);
    for (name, code) in [("vzeroall", ALL_OF_IT), ("vzeroupper", UPPER)] {
        for wide in [true, false] {
            let mut guest = if wide { guest(0, code) } else { Guest::protected(0, code) };
            guest.system.cr4 |= CR4_OSXSAVE;
            guest.xcr0 = Some(ALL);
            let low = if name == "vzeroall" { 0 } else { pattern(7) };
            let (low_8, high_8) = match (wide, name) {
                (true, "vzeroall") => (0, 0),
                (true, _) => (pattern(8), 0),
                (false, _) => (pattern(8), pattern(8)),
            };
            let expect = Expect::done()
                .value("xmm7", |outcome| saved(outcome, 160 + 16 * 7), low)
                .value("ymm7's upper half", |outcome| saved(outcome, 576 + 16 * 7), 0)
                .value("xmm8", |outcome| saved(outcome, 160 + 16 * 8), low_8)
                .value("ymm8's upper half", |outcome| saved(outcome, 576 + 16 * 8), high_8);
            let bits = if wide { 64 } else { 32 };
            cases.push(Case::new(format!("{name} in {bits}-bit code"), ZERO, guest, expect));
        }
    }
}

/// What is in a header, its words by number, and whether XRSTOR takes it.
type Header = (&'static str, &'static [(u64, u64)], bool);

/// XRSTOR from an area at RBX, whose header says this and that.
fn restores(cases: &mut Vec<Case>) {
    const CODE: &[u8] = &[0x0f, 0xae, 0x2b];
    const COMPACTED: u64 = 1 << 63;
    const MXCSR: u64 = DATA + 24;
    const HEADER: u64 = DATA + 512;
    let area = || {
        let mut guest = guest(0, CODE);
        guest.registers.rax = ALL;
        guest.put(DATA, &0x37f_u16.to_le_bytes());
        guest.put(MXCSR, &0x1f80_u32.to_le_bytes());
        guest
    };
    let rows: [Header; 14] = [
        ("nothing in it", &[], true),
        ("all in it", &[(0, ALL)], true),
        ("a component that is not enabled", &[(0, 1 << 3)], false),
        ("bit 63 of XSTATE_BV", &[(0, 1 << 63)], false),
        ("XCOMP_BV without its bit 63", &[(0, ALL), (1, ALL)], false),
        ("its third word not zero", &[(0, ALL), (2, 1)], false),
        ("its fourth word not zero, which does not count", &[(0, ALL), (3, 1)], true),
        ("compacted: all in it", &[(0, ALL), (1, COMPACTED | ALL)], true),
        ("compacted: some in it", &[(0, 2), (1, COMPACTED | ALL)], true),
        ("compacted: one in it that has no room", &[(0, 4), (1, COMPACTED | 3)], false),
        ("compacted: room for a component that is not enabled", &[(0, 3), (1, COMPACTED | 0xf)], false),
        ("compacted: its third word not zero", &[(0, ALL), (1, COMPACTED | ALL), (2, 1)], false),
        ("compacted: its fourth word not zero", &[(0, ALL), (1, COMPACTED | ALL), (3, 1)], false),
        ("compacted: its last word not zero", &[(0, ALL), (1, COMPACTED | ALL), (7, 1)], false),
    ];
    for (what, words, takes) in rows {
        let mut guest = area();
        for (number, value) in words {
            guest.put64(HEADER + 8 * number, *value);
        }
        let refused = if takes { None } else { Some((vector::GP, 0)) };
        push(cases, format!("xrstor, {what}"), RESTORE, guest, refused);
    }
    let change = |what: &str, change: fn(&mut Guest), refused: Refusal, cases: &mut Vec<Case>| {
        let mut guest = area();
        guest.put64(HEADER, ALL);
        change(&mut guest);
        push(cases, format!("xrstor, {what}"), RESTORE, guest, refused);
    };
    let gp = Some((vector::GP, 0));
    change("a reserved bit of MXCSR", |guest| guest.put(MXCSR, &[0x80, 0x1f, 1, 0]), gp, cases);
    change("not aligned", |guest| guest.registers.rbx += 16, gp, cases);
    change("nothing asked for", |guest| guest.registers.rax = 0, None, cases);
    change("with TS", |guest| guest.system.cr0 |= TS, Some((vector::NM, 0)), cases);
    let off = |guest: &mut Guest| guest.system.cr4 &= !CR4_OSXSAVE;
    change("without OSXSAVE", off, Some((vector::UD, 0)), cases);
}

/// A page that is absent behind the third element: the first two are done, and their masks are clear.
fn gathers(cases: &mut Vec<Case>) {
    const ABSENT: u64 = 0x4_1000;
    // movdqu xmm1, [rbx + 0x40]; movdqu xmm2, [rbx + 0x50]; vpgatherdd xmm0, [rbx + 4 * xmm1], xmm2
    let code = [
        [0xf3, 0x0f, 0x6f, 0x4b, 0x40].as_slice(),
        &[0xf3, 0x0f, 0x6f, 0x53, 0x50],
        &[0xc4, 0xe2, 0x69, 0x90, 0x04, 0x8b],
    ]
    .concat();
    let with_third = |index: u64, mask: u64| {
        let mut guest = guest(0, &code);
        guest.put64(DATA, 0x2222_2222_1111_1111);
        guest.put64(DATA + 8, 0x4444_4444_3333_3333);
        guest.put64(DATA + 0x40, 1 << 32);
        guest.put64(DATA + 0x48, 3 << 32 | index);
        guest.put64(DATA + 0x50, u64::MAX);
        guest.put64(DATA + 0x58, mask);
        guest
    };
    let absent = (ABSENT - DATA) / 4;
    let low = |outcome: &Outcome| saved(outcome, 160);
    let low_mask = |outcome: &Outcome| saved(outcome, 160 + 32);
    let high_mask = |outcome: &Outcome| saved(outcome, 160 + 40);
    let guest = with_third(2, u64::MAX);
    let expect = Expect::done()
        .value("elements 0 and 1", low, 0x2222_2222_1111_1111)
        .value("elements 2 and 3", |outcome| saved(outcome, 168), 0x4444_4444_3333_3333)
        .value("mask", low_mask, 0);
    cases.push(Case::new("vpgatherdd", GATHER, guest, expect));
    let guest = with_third(absent, u64::MAX);
    let expect = Expect::fault_at(vector::PF, 0, guest.start + 10)
        .cr2(ABSENT)
        .value("elements 0 and 1", low, 0x2222_2222_1111_1111)
        .value("mask of elements 0 and 1", low_mask, 0)
        .value("mask of element 2", |outcome| saved(outcome, 160 + 40) & 0xffff_ffff, 0xffff_ffff);
    cases.push(Case::new("vpgatherdd with a page that is absent", GATHER, guest, expect));
    let guest = with_third(absent, 0xffff_ffff_0000_0000);
    let expect = Expect::done()
        .value("element 2", |outcome| saved(outcome, 168) & 0xffff_ffff, 0x0101_0101)
        .value("mask", high_mask, 0);
    cases.push(Case::new("vpgatherdd masks the absent page off", GATHER, guest, expect));
}
