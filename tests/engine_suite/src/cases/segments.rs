//! Loading of segment registers (SDM vol. 2, MOV; vol. 3, 5.6 and 5.7): every type, DPL, RPL, presence, CPL.

use super::{Case, vector};
use crate::guest::Guest;
use crate::layout::*;
use crate::outcome::{Expect, Outcome};
use crate::tables::Descriptor;

const SECTION: &str = "SDM vol. 2, MOV; vol. 3, 5.6, 5.7";

/// A register, the ModRM byte of MOV to it from EAX, and where its selector is afterwards.
type Register = (&'static str, u8, fn(&Outcome) -> u64);

const REGISTERS: [Register; 5] = [
    ("ds", 0xd8, |outcome| outcome.state.system.ds.selector.into()),
    ("es", 0xc0, |outcome| outcome.state.system.es.selector.into()),
    ("fs", 0xe0, |outcome| outcome.state.system.fs.selector.into()),
    ("gs", 0xe8, |outcome| outcome.state.system.gs.selector.into()),
    ("ss", 0xd0, |outcome| outcome.frame.ss.into()),
];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for register in REGISTERS {
        for cpl in [0, 3] {
            loads(&mut cases, register, cpl);
            nulls(&mut cases, register, cpl);
            outside(&mut cases, register, cpl);
        }
    }
    let to_cs = Guest::long(0, &[0x8e, 0xc8]);
    cases.push(Case::new("mov cs, eax", SECTION, to_cs.clone(), Expect::fault(&to_cs, vector::UD, 0)));
    cases
}

/// Code and data of all types; of system segments LDT, TSS, call and interrupt gates.
fn kinds() -> impl Iterator<Item = (u8, bool)> {
    (0..16).map(|kind| (kind, true)).chain([2, 9, 11, 12, 14].map(|kind| (kind, false)))
}

fn loads(cases: &mut Vec<Case>, register: Register, cpl: u8) {
    // DS and SS with every combination; the others behave as DS, and fewer suffice.
    let levels: &[u8] = if matches!(register.0, "ds" | "ss") { &[0, 1, 2, 3] } else { &[0, 3] };
    for (kind, code_or_data) in kinds() {
        for dpl in levels {
            for rpl in levels {
                for present in [true, false] {
                    let flat = Descriptor::flat(kind, *dpl);
                    let descriptor = Descriptor { code_or_data, present, ..flat };
                    cases.push(load(register, descriptor, *rpl, cpl));
                }
            }
        }
    }
}

fn load(register: Register, descriptor: Descriptor, rpl: u8, cpl: u8) -> Case {
    let (name, modrm, get) = register;
    let selector = TEST | u16::from(rpl);
    let mut guest = Guest::long(cpl, &[0x8e, modrm]);
    guest.registers.rax = selector.into();
    guest.descriptor(TEST, descriptor);
    let refused =
        if name == "ss" { stack_refusal(descriptor, rpl, cpl) } else { data_refusal(descriptor, rpl, cpl) };
    let accessed = GDT + u64::from(TEST);
    let expect = match refused {
        Some(vector) => {
            Expect::fault(&guest, vector, TEST.into()).memory(accessed, u64::MAX, descriptor.raw())
        }
        None => Expect::done().value("selector", get, selector.into()).memory(
            accessed,
            u64::MAX,
            descriptor.raw() | 1 << 40,
        ),
    };
    let Descriptor { kind, code_or_data, dpl, present, .. } = descriptor;
    let shape = if code_or_data { "type" } else { "system type" };
    let name = format!("cpl {cpl} mov {name}: {shape} {kind} dpl {dpl} rpl {rpl} present {present}");
    Case::new(name, SECTION, guest, expect)
}

fn data_refusal(descriptor: Descriptor, rpl: u8, cpl: u8) -> Option<u8> {
    let privileged = !descriptor.is_conforming() && (rpl > descriptor.dpl || cpl > descriptor.dpl);
    if !descriptor.is_readable() || privileged {
        Some(vector::GP)
    } else if !descriptor.present {
        Some(vector::NP)
    } else {
        None
    }
}

fn stack_refusal(descriptor: Descriptor, rpl: u8, cpl: u8) -> Option<u8> {
    if rpl != cpl || descriptor.dpl != cpl || !descriptor.is_writable() {
        Some(vector::GP)
    } else if !descriptor.present {
        Some(vector::SS)
    } else {
        None
    }
}

/// Null selectors: SS takes one below privilege 3 in 64-bit mode, with its RPL that of CPL.
fn nulls(cases: &mut Vec<Case>, register: Register, cpl: u8) {
    let (name, modrm, get) = register;
    for rpl in 0..4u8 {
        for wide in [true, false] {
            let code = [0x8e, modrm];
            let mut guest = if wide { Guest::long(cpl, &code) } else { Guest::protected(cpl, &code) };
            guest.registers.rax = rpl.into();
            let refused = name == "ss" && (!wide || cpl == 3 || rpl != cpl);
            let expect = if refused {
                Expect::fault(&guest, vector::GP, 0)
            } else {
                Expect::done().value("selector", get, rpl.into())
            };
            let bits = if wide { 64 } else { 32 };
            let name = format!("cpl {cpl} mov {name}, null with rpl {rpl} in {bits}-bit code");
            cases.push(Case::new(name, SECTION, guest, expect));
        }
    }
}

/// Selectors outside the table, of the GDT and of an LDT that is not there.
fn outside(cases: &mut Vec<Case>, register: Register, cpl: u8) {
    let (name, modrm, _) = register;
    for selector in [0xa0u16, 0xfff8, 0x57, 0x0c] {
        let mut guest = Guest::long(cpl, &[0x8e, modrm]);
        guest.registers.rax = (selector | u16::from(cpl)).into();
        let expect = Expect::fault(&guest, vector::GP, u32::from(selector & !3));
        let name = format!("cpl {cpl} mov {name}, {selector:#x}: no descriptor");
        cases.push(Case::new(name, SECTION, guest, expect));
    }
}
