//! Call gates and interrupt gates, stack switches, IST (SDM vol. 3, 5.8.3, 6.12, 6.14).

use super::{Case, Refusal, vector};
use crate::guest::{Guest, IF};
use crate::layout::*;
use crate::outcome::Expect;
use crate::tables::{CALL_GATE, Descriptor, Gate, INTERRUPT_GATE};

const CALLS: &str = "SDM vol. 3, 5.8.3.1, 5.8.4; vol. 2, CALL";
const INTERRUPTS: &str = "SDM vol. 3, 6.12, 6.14; vol. 2, INT n";
const TARGET: u64 = USER_CODE + 0x100;
/// CALL m16:32 at RBX, and JMP.
const CALL: [u8; 2] = [0xff, 0x1b];
const JMP: [u8; 2] = [0xff, 0x2b];
const NOT_CANONICAL: u64 = 0x8000_0000_0000;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    call_privileges(&mut cases);
    call_details(&mut cases);
    interrupt_gates(&mut cases);
    interrupt_targets(&mut cases);
    stacks(&mut cases);
    protected(&mut cases);
    cases
}

fn with_call_gate(cpl: u8, code: &[u8], gate: Gate, rpl: u8) -> Guest {
    let mut guest = Guest::long(cpl, code);
    guest.put64(DATA, u64::from(TEST | u16::from(rpl)) << 32);
    let [low, high] = gate.raw();
    guest.put64(GDT + u64::from(TEST), low);
    guest.put64(GDT + u64::from(TEST) + 8, high);
    guest.put(TARGET, &[0xcd, DONE]);
    guest
}

fn call_gate(selector: u16) -> Gate {
    Gate { kind: CALL_GATE, ..Gate::interrupt(selector, TARGET, 3) }
}

/// Gate DPL, RPL, CPL, target's type and DPL.
fn call_privileges(cases: &mut Vec<Case>) {
    for (cpl, jump) in [(0, false), (0, true), (3, false), (3, true)] {
        for gate_dpl in 0..4u8 {
            for rpl in 0..4u8 {
                for (kind, dpl) in [(11, 0), (11, 3), (15, 0), (15, 3)] {
                    for present in [true, false] {
                        cases.push(call_case(cpl, jump, gate_dpl, rpl, (kind, dpl), present));
                    }
                }
            }
        }
    }
}

fn call_case(cpl: u8, jump: bool, gate_dpl: u8, rpl: u8, target: (u8, u8), present: bool) -> Case {
    let code = if jump { JMP } else { CALL };
    let gate = Gate { dpl: gate_dpl, present, ..call_gate(TEST2) };
    let mut guest = with_call_gate(cpl, &code, gate, rpl);
    let (kind, dpl) = target;
    let descriptor = Descriptor::code64(kind, dpl);
    guest.descriptor(TEST2, descriptor);
    let conforming = descriptor.is_conforming();
    let refused = dpl > cpl || (jump && !conforming && dpl != cpl);
    let expect = if gate_dpl < cpl || gate_dpl < rpl {
        Expect::fault(&guest, vector::GP, TEST.into())
    } else if !present {
        Expect::fault(&guest, vector::NP, TEST.into())
    } else if refused {
        Expect::fault(&guest, vector::GP, TEST2.into())
    } else if !conforming && dpl < cpl {
        // To RSP0, with SS:RSP, CS:RIP of the caller; SS becomes null.
        let (sp, cs) = (guest.registers.rsp, u64::from(guest.system.cs.selector));
        let expect = Expect::done().rip(TARGET + 2).cs(TEST2).rsp(RSP0 - 32).ss(0);
        expect
            .memory(RSP0 - 8, u64::MAX, USER_DATA.into())
            .memory(RSP0 - 16, u64::MAX, sp)
            .memory(RSP0 - 24, u64::MAX, cs)
            .memory(RSP0 - 32, u64::MAX, guest.start + 2)
    } else {
        let sp = guest.registers.rsp - if jump { 0 } else { 16 };
        Expect::done().rip(TARGET + 2).cs(TEST2 | u16::from(cpl)).rsp(sp)
    };
    let what = if jump { "jmp" } else { "call" };
    let name = format!(
        "cpl {cpl} {what} through gate dpl {gate_dpl} rpl {rpl} present {present} to type {kind} dpl {dpl}"
    );
    Case::new(name, CALLS, guest, expect)
}

fn call_details(cases: &mut Vec<Case>) {
    let refused = |name: &str, gate: Gate, change: fn(&mut Guest), vector: u8, error: u32| {
        let mut guest = with_call_gate(0, &CALL, gate, 0);
        change(&mut guest);
        let expect = Expect::fault(&guest, vector, error);
        Case::new(name, CALLS, guest, expect)
    };
    let none: fn(&mut Guest) = |_| ();
    let good = call_gate(KERNEL_CODE);
    let gp = vector::GP;
    let test = u32::from(TEST);
    cases.push(refused("16-bit call gate in IA-32e mode", Gate { kind: 4, ..good }, none, gp, test));
    cases.push(refused("task gate in IA-32e mode", Gate { kind: 5, ..good }, none, gp, test));
    cases.push(refused("call gate to a null selector", call_gate(0), none, gp, 0));
    cases.push(refused("call gate to data", call_gate(KERNEL_DATA_SELECTOR), none, gp, 0x10));
    cases.push(refused("call gate to 32-bit code", call_gate(KERNEL_CODE32), none, gp, 0x30));
    cases.push(refused("call gate to outside the table", call_gate(0xff8), none, gp, 0xff8));
    cases.push(refused(
        "call gate to an address that is not canonical",
        Gate { offset: NOT_CANONICAL, ..good },
        none,
        gp,
        0,
    ));
    let typed: fn(&mut Guest) = |guest| guest.put64(GDT + u64::from(TEST) + 8, 0xc << 40);
    cases.push(refused("call gate with a type in its upper half", good, typed, gp, test));
    let absent: fn(&mut Guest) =
        |guest| guest.descriptor(TEST2, Descriptor { present: false, ..Descriptor::code64(11, 0) });
    cases.push(refused("call gate to code that is not present", call_gate(TEST2), absent, vector::NP, 0x60));
}

/// INT n through every type of gate, DPL, presence and CPL.
fn interrupt_gates(cases: &mut Vec<Case>) {
    let named = u32::from(TEST_VECTOR) * 8 + 2;
    for cpl in [0, 3] {
        for kind in (0..16u8).chain([0x1e]) {
            for dpl in 0..4 {
                for present in [true, false] {
                    let mut guest = Guest::long(cpl, &[0xcd, TEST_VECTOR]);
                    let gate = Gate { kind, dpl, present, ..guest.default_gate(TEST_VECTOR) };
                    guest.gate(TEST_VECTOR, gate);
                    guest.registers.rflags |= IF;
                    let fits = matches!(kind, 14 | 15);
                    let expect = if !fits || dpl < cpl {
                        Expect::fault(&guest, vector::GP, named)
                    } else if !present {
                        Expect::fault(&guest, vector::NP, named)
                    } else {
                        let on = if kind == INTERRUPT_GATE { 0 } else { IF };
                        Expect::event(TEST_VECTOR).rip(guest.start + 2).value(
                            "IF",
                            |outcome| outcome.state.registers.rflags & IF,
                            on,
                        )
                    };
                    let name = format!("cpl {cpl} int through gate type {kind} dpl {dpl} present {present}");
                    cases.push(Case::new(name, INTERRUPTS, guest, expect));
                }
            }
        }
    }
}

/// What gates lead to; by INT n, and by an exception, which sets EXT in error codes.
fn interrupt_targets(cases: &mut Vec<Case>) {
    let rows: [(&str, u16, u64, u8, u32); 6] = [
        ("null", 0, stub(TEST_VECTOR), vector::GP, 0),
        ("data", KERNEL_DATA_SELECTOR, stub(TEST_VECTOR), vector::GP, 0x10),
        ("32-bit code", KERNEL_CODE32, stub(TEST_VECTOR), vector::GP, 0x30),
        ("outer code", USER_CODE64, stub(TEST_VECTOR), vector::GP, 0x28),
        ("outside the table", 0xff8, stub(TEST_VECTOR), vector::GP, 0xff8),
        ("an address that is not canonical", KERNEL_CODE, NOT_CANONICAL, vector::GP, 0),
    ];
    for (what, selector, offset, fault, error) in rows {
        for (by, code, number, ext) in
            [("int", vec![0xcd, TEST_VECTOR], TEST_VECTOR, 0), ("ud2", vec![0x0f, 0x0b], 6, 1)]
        {
            let mut guest = Guest::long(0, &code);
            guest.gate(number, Gate { selector, offset, stack: 1, ..guest.default_gate(number) });
            let expect = Expect::fault(&guest, fault, error | ext);
            cases.push(Case::new(format!("{by} through a gate to {what}"), INTERRUPTS, guest, expect));
        }
    }
    for (what, change) in [
        ("not present", (|gate| Gate { present: false, ..gate }) as fn(Gate) -> Gate),
        ("of the wrong type", |gate| Gate { kind: CALL_GATE, ..gate }),
    ] {
        let mut guest = Guest::long(0, &[0x0f, 0x0b]);
        guest.gate(6, change(guest.default_gate(6)));
        let fault = if what == "not present" { vector::NP } else { vector::GP };
        let expect = Expect::fault(&guest, fault, 6 * 8 + 3);
        cases.push(Case::new(format!("#UD through a gate {what}"), INTERRUPTS, guest, expect));
    }
    let mut guest = Guest::long(0, &[0xcd, TEST_VECTOR]);
    guest.system.idt.limit = 16 * u16::from(TEST_VECTOR) + 14;
    let expect = Expect::fault(&guest, vector::GP, u32::from(TEST_VECTOR) * 8 + 2);
    cases.push(Case::new("int beyond the table's limit", INTERRUPTS, guest, expect));
}

/// Stacks in 64-bit mode: alignment, RSP0, IST, nothing when neither applies.
fn stacks(cases: &mut Vec<Case>) {
    let rows: [(&str, u8, u8, u64); 5] = [
        ("cpl 0 to 0", 0, 0, STACK - 0x110),
        ("cpl 3 to 0", 3, 0, RSP0 & !15),
        ("cpl 0 by IST 1", 0, 1, IST1),
        ("cpl 0 by IST 2", 0, 2, IST2),
        ("cpl 3 by IST 2", 3, 2, IST2),
    ];
    for (what, cpl, stack, top) in rows {
        let mut guest = Guest::long(cpl, &[0xcd, TEST_VECTOR]);
        guest.gate(TEST_VECTOR, Gate { stack, dpl: 3, ..guest.default_gate(TEST_VECTOR) });
        guest.registers.rsp -= 5;
        let (sp, ss) = (guest.registers.rsp, guest.system.ss.selector);
        let new_ss = if cpl == 3 { 0 } else { ss };
        let expect = Expect::event(TEST_VECTOR)
            .value("rsp", |outcome| outcome.state.registers.rsp, top - 40)
            .value("ss", |outcome| outcome.state.system.ss.selector.into(), new_ss.into())
            .rsp(sp)
            .ss(ss);
        cases.push(Case::new(format!("stack of int: {what}"), INTERRUPTS, guest, expect));
    }
    for (what, offset, stack) in [("RSP0", 4, 0), ("IST 2", 0x2c, 2)] {
        let mut guest = Guest::long(3, &[0xcd, TEST_VECTOR]);
        guest.gate(TEST_VECTOR, Gate { stack, dpl: 3, ..guest.default_gate(TEST_VECTOR) });
        guest.put64(TSS + offset, NOT_CANONICAL + 0x1000);
        let expect = Expect::fault(&guest, vector::SS, 0);
        cases.push(Case::new(format!("int with {what} not canonical"), INTERRUPTS, guest, expect));
        let mut guest = Guest::long(3, &[0xcd, TEST_VECTOR]);
        guest.gate(TEST_VECTOR, Gate { stack, dpl: 3, ..guest.default_gate(TEST_VECTOR) });
        guest.put64(TSS + offset, TEST_ADDRESS);
        // The push below TEST_ADDRESS finds no page; a supervisor's write.
        let expect = Expect::fault(&guest, vector::PF, 2).cr2(TEST_ADDRESS - 8);
        cases.push(Case::new(format!("int with {what} not mapped"), INTERRUPTS, guest, expect));
    }
}

/// 32-bit code: SS:ESP of the TSS, and what may be wrong with it, from privilege 3 by INT n and by #UD.
fn protected(cases: &mut Vec<Case>) {
    let absent = Descriptor { present: false, ..Descriptor::flat(3, 0) };
    let small = Descriptor { granular: false, limit: 0xfff, ..Descriptor::flat(3, 0) };
    let rows: [(&str, u16, Descriptor, Refusal); 7] = [
        ("good", TEST, Descriptor::flat(3, 0), None),
        ("null", 0, Descriptor::flat(3, 0), Some((vector::TS, 0))),
        ("of RPL 3", TEST | 3, Descriptor::flat(3, 0), Some((vector::TS, 0x50))),
        ("of DPL 3", TEST, Descriptor::flat(3, 3), Some((vector::TS, 0x50))),
        ("read-only", TEST, Descriptor::flat(1, 0), Some((vector::TS, 0x50))),
        ("not present", TEST, absent, Some((vector::SS, 0x50))),
        ("too small", TEST, small, Some((vector::SS, 0x50))),
    ];
    for (what, selector, descriptor, refused) in rows {
        for (by, code, number, ext) in
            [("int", vec![0xcd, TEST_VECTOR], TEST_VECTOR, 0), ("ud2", vec![0x0f, 0x0b], 6, 1)]
        {
            let mut guest = Guest::protected(3, &code);
            guest.descriptor(TEST, descriptor);
            guest.put64(TSS + 4, RSP0 | u64::from(selector) << 32);
            guest.gate(number, Gate { dpl: 3, ..guest.default_gate(number) });
            // The fault's own handler would find the same stack: it is conforming code, which changes none.
            guest.descriptor(TEST2, Descriptor::flat(15, 0));
            for fault in [vector::TS, vector::SS] {
                guest.gate(fault, Gate { selector: TEST2, ..guest.default_gate(fault) });
            }
            guest.registers.rflags |= 3 << 12; // IOPL 3, for the stub's OUT
            let sp = guest.registers.rsp;
            let expect = match refused {
                Some((fault, error)) => Expect::fault(&guest, fault, error | ext),
                None => Expect::event(number).rsp(sp).ss(USER_DATA).cs(USER_CODE32).value(
                    "esp",
                    |outcome| outcome.state.registers.rsp,
                    RSP0 - 20,
                ),
            };
            cases.push(Case::new(format!("32-bit {by} with inner stack {what}"), INTERRUPTS, guest, expect));
        }
    }
}
