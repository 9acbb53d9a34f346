//! Single step and breakpoints (SDM vol. 3, 18.2 and 18.3).

use super::{Case, vector};
use crate::guest::{Guest, IF, TF};
use crate::layout::*;
use crate::outcome::{Expect, Outcome};

const STEP: &str = "SDM vol. 3, 18.3.1.4";
const BREAK: &str = "SDM vol. 3, 18.2, 18.3.1";
/// DR6: breakpoint n, access to debug registers, single step.
const BD: u64 = 1 << 13;
const BS: u64 = 1 << 14;
/// RFLAGS.RF.
const RF: u64 = 1 << 16;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    steps(&mut cases);
    code_breakpoints(&mut cases);
    data_breakpoints(&mut cases);
    port_breakpoints(&mut cases);
    shadows(&mut cases);
    halts(&mut cases);
    repeats(&mut cases);
    registers(&mut cases);
    cases
}

fn why(outcome: &Outcome) -> u64 {
    outcome.state.debug.dr6 & 0xe00f
}

/// #DB after `offset` bytes with `bits` in DR6.
fn trap(guest: &Guest, offset: u64, bits: u64) -> Expect {
    Expect::event(vector::DB).rip(guest.start + offset).value("dr6", why, bits)
}

fn steps(cases: &mut Vec<Case>) {
    // Code and where the trap comes, with TF set from the start. RAX is data's selector.
    let rows: [(&str, &[u8], u64); 6] = [
        ("nop", &[0x90, 0x90], 1),
        ("a jump", &[0xeb, 0x01, 0x90, 0x90], 3),
        ("cpuid", &[0x0f, 0xa2, 0x90], 2),
        ("mov ss: after the next instruction", &[0x8e, 0xd0, 0x90, 0x90], 3),
        ("popfq that clears TF: after it", &[0x9d, 0x90], 1),
        ("rep stosb: after an iteration", &[0xf3, 0xaa], 0),
    ];
    for (name, code, offset) in rows {
        let mut guest = Guest::long(0, code);
        guest.registers.rflags |= TF;
        (guest.registers.rax, guest.registers.rcx) = (KERNEL_DATA_SELECTOR.into(), 3);
        guest.registers.rdi = DATA;
        if code[0] == 0x9d {
            guest.push64(2);
        }
        let expect = trap(&guest, offset, BS).value(
            "TF in the handler",
            |outcome| outcome.state.registers.rflags & TF,
            0,
        );
        cases.push(Case::new(format!("single step of {name}"), STEP, guest, expect));
    }
    // POPFQ that sets TF: the trap follows the next instruction.
    let mut guest = Guest::long(0, &[0x9d, 0x90, 0x90]);
    guest.push64(TF | 2);
    let expect = trap(&guest, 2, BS);
    cases.push(Case::new("popfq sets TF", STEP, guest, expect));
    // INT n clears TF as it enters the handler: no trap there.
    let mut guest = Guest::long(0, &[0xcd, TEST_VECTOR]);
    guest.registers.rflags |= TF;
    let expect = Expect::event(TEST_VECTOR)
        .rip(guest.start + 2)
        .value("TF in the frame", |outcome| outcome.frame.rflags & TF, TF)
        .value("dr6", why, 0);
    cases.push(Case::new("int n with TF", STEP, guest, expect));
    // A fault is delivered without a trap.
    let mut guest = Guest::long(0, &[0x0f, 0x0b]);
    guest.registers.rflags |= TF;
    let expect = Expect::fault(&guest, vector::UD, 0).value("dr6", why, 0).value(
        "RF in the frame",
        |outcome| outcome.frame.rflags & RF,
        RF,
    );
    cases.push(Case::new("ud2 with TF", STEP, guest, expect));
    let guest = Guest::long(0, &[0xf1]);
    let expect = Expect::event(vector::DB).rip(guest.start + 1);
    cases.push(Case::new("int1", "SDM vol. 2, INT1", guest, expect));
}

fn with_breakpoint(code: &[u8], address: u64, dr7: u64) -> Guest {
    let mut guest = Guest::long(0, code);
    guest.debug.addresses[1] = address;
    guest.debug.dr7 = dr7 | 0x400;
    guest
}

fn code_breakpoints(cases: &mut Vec<Case>) {
    let at = CODE + 1;
    let local = 1 << 2;
    let guest = with_breakpoint(&[0x90, 0x90], at, local);
    let expect = trap(&guest, 1, 2).value("RF in the frame", |outcome| outcome.frame.rflags & RF, 0);
    cases.push(Case::new("breakpoint on an instruction", BREAK, guest, expect));
    let guest = with_breakpoint(&[0x90, 0x90], at, 1 << 3);
    let expect = trap(&guest, 1, 2);
    cases.push(Case::new("global breakpoint on an instruction", BREAK, guest, expect));
    let guest = with_breakpoint(&[0x90, 0x90], at, 0);
    cases.push(Case::new("breakpoint that is off", BREAK, guest, Expect::done()));
    let guest = with_breakpoint(&[0x90, 0xb0, 1], at + 1, local);
    cases.push(Case::new("breakpoint inside an instruction", BREAK, guest, Expect::done()));
    let mut guest = with_breakpoint(&[0x90, 0x90], CODE, local);
    guest.registers.rflags |= RF;
    cases.push(Case::new("RF holds a breakpoint off once", BREAK, guest, Expect::done()));
    // Before a fault of the same instruction.
    let guest = with_breakpoint(&[0x90, 0x0f, 0x0b], at, local);
    let expect = trap(&guest, 1, 2);
    cases.push(Case::new("breakpoint before #UD", "SDM vol. 3, 6.9", guest, expect));
    // IRETQ sets RF for the instruction it returns to.
    let mut guest = with_breakpoint(&[0x48, 0xcf], CODE + 0x80, local);
    guest.put(CODE + 0x80, &[0x90, 0xcd, DONE]);
    for value in [KERNEL_DATA_SELECTOR.into(), STACK - 0x100, RF | 2, KERNEL_CODE.into(), CODE + 0x80] {
        guest.push64(value);
    }
    cases.push(Case::new("iretq with RF to a breakpoint", BREAK, guest.clone(), Expect::done()));
    // RF counts for one instruction; INT behind it pushes it clear.
    guest.debug.dr7 = 0x400;
    let expect = Expect::done().value("RF in the frame", |outcome| outcome.frame.rflags & RF, 0);
    cases.push(Case::new("iretq with RF, an instruction later", BREAK, guest, expect));
    // A fault in the middle of a store that has hit leaves no trap behind: the page after DATA's is absent.
    let mut guest = with_breakpoint(&[0x89, 0x03], TEST_ADDRESS + 0xffe, local | 1 << 20);
    guest.map_test([7, 7, 7, 7], TEST_PAGE);
    guest.registers.rbx = TEST_ADDRESS + 0xffe;
    let expect = Expect::fault(&guest, vector::PF, 2).cr2(TEST_ADDRESS + 0x1000).value("dr6", why, 0);
    cases.push(Case::new("data breakpoint of a store that faults", BREAK, guest, expect));
}

fn data_breakpoints(cases: &mut Vec<Case>) {
    // DR7: breakpoint 1 local; condition at 20, length at 22 (SDM vol. 3, 18.2.4).
    let (write, access) = (1 << 20, 3 << 20);
    let (one, two, four, eight) = (0, 1 << 22, 3 << 22, 2 << 22);
    let (load, store): (&[u8], &[u8]) = (&[0x8b, 0x03, 0x90], &[0x89, 0x03, 0x90]);
    let rows: [(&str, &[u8], u64, u64, bool); 11] = [
        ("store on write", store, DATA, write | four, true),
        ("load on write", load, DATA, write | four, false),
        ("load on access", load, DATA, access | four, true),
        ("store on access", store, DATA, access | four, true),
        ("store, its last byte", store, DATA + 3, write | one, true),
        ("store, the byte after", store, DATA + 4, write | one, false),
        ("store, the byte before", store, DATA - 1, write | one, false),
        ("store, two bytes that overlap", store, DATA + 2, write | two, true),
        ("store, eight bytes around", store, DATA, write | eight, true),
        ("push", &[0x50, 0x90], STACK - 0x108, write | four, true),
        ("int3 pushes nothing there", &[0x90, 0x90], STACK - 0x108, write | four, false),
    ];
    for (name, code, address, bits, hits) in rows {
        let guest = with_breakpoint(code, address, 1 << 2 | bits);
        let len = if code[0] == 0x50 { 1 } else { 2 };
        let expect = if hits { trap(&guest, len, 2) } else { Expect::done() };
        cases.push(Case::new(format!("data breakpoint: {name}"), BREAK, guest, expect));
    }
    // Both reasons together.
    let mut guest = with_breakpoint(store, DATA, 1 << 2 | write | four);
    guest.registers.rflags |= TF;
    let expect = trap(&guest, 2, 2 | BS);
    cases.push(Case::new("data breakpoint and single step", BREAK, guest, expect));
}

/// Breakpoints on ports, which CR4.DE brings (SDM vol. 3, 18.2.4).
fn port_breakpoints(cases: &mut Vec<Case>) {
    // Code; address, DR7 and CR4; whether it hits.
    type Row<'r> = (&'r str, &'r [u8], [u64; 3], bool);
    let port = |bits: u64| 1 << 2 | 2 << 20 | bits << 22;
    // in al, 0x80; out 0x80, al; in eax, 0x80; insb; outsb, by DX
    let rows: [Row<'_>; 8] = [
        ("in", &[0xe4, 0x80, 0x90], [0x80, port(0), 8], true),
        ("out", &[0xe6, 0x80, 0x90], [0x80, port(0), 8], true),
        ("in, the port before", &[0xe4, 0x80, 0x90], [0x81, port(0), 8], false),
        ("in of four bytes, the last", &[0xe5, 0x80, 0x90], [0x83, port(0), 8], true),
        ("out, four ports around", &[0xe6, 0x82, 0x90], [0x80, port(3), 8], true),
        ("insb", &[0x6c, 0x90], [0x80, port(0), 8], true),
        ("outsb", &[0x6e, 0x90], [0x80, port(0), 8], true),
        ("in without CR4.DE", &[0xe4, 0x80, 0x90], [0x80, port(0), 0], false),
    ];
    for (name, code, [address, dr7, cr4], hits) in rows {
        let mut guest = with_breakpoint(code, address, dr7);
        guest.system.cr4 |= cr4;
        (guest.registers.rdx, guest.registers.rsi, guest.registers.rdi) = (0x80, DATA, DATA);
        let expect = if hits { trap(&guest, code.len() as u64 - 1, 2) } else { Expect::done() };
        cases.push(Case::new(format!("port breakpoint: {name}"), BREAK, guest, expect));
    }
}

/// What MOV SS and POP SS hold off, and for how long. RAX is the stack's selector, as the words at RBX and RSP are.
fn shadows(cases: &mut Vec<Case>) {
    // Code, breakpoint, TF; offset of the trap, its bits; none where nothing comes.
    type Row<'r> = (&'r str, &'r [u8], (u64, u64), u64, Option<(u64, u64)>);
    let section = "SDM vol. 3, 6.8.3";
    let execute = 1 << 2;
    let read = 1 << 2 | 3 << 20 | 1 << 22;
    let at = |offset: u64| CODE + offset;
    let stack = STACK - 0x100;
    let rows: [Row<'_>; 12] = [
        ("mov ss, breakpoint behind it", &[0x8e, 0xd0, 0x90, 0x90], (at(2), execute), 0, None),
        ("mov ss, breakpoint on the second", &[0x8e, 0xd0, 0x90, 0x90], (at(3), execute), 0, Some((3, 2))),
        ("mov ss, breakpoint on itself", &[0x8e, 0xd0, 0x90, 0x90], (at(0), execute), 0, Some((0, 2))),
        ("mov ds, breakpoint behind it", &[0x8e, 0xd8, 0x90, 0x90], (at(2), execute), 0, Some((2, 2))),
        ("sti, breakpoint behind it", &[0xfb, 0x90, 0x90], (at(1), execute), 0, Some((1, 2))),
        ("lss, breakpoint behind it", &[0x0f, 0xb2, 0x23, 0x90, 0x90], (at(3), execute), 0, Some((3, 2))),
        ("mov ss by [rbx], watched", &[0x8e, 0x13, 0x90, 0x90], (DATA, read), 0, Some((3, 2))),
        ("mov ss by [rbx], watched, TF", &[0x8e, 0x13, 0x90, 0x90], (DATA, read), TF, Some((3, 2 | BS))),
        ("mov ss by [rbx], watched, then ud2", &[0x8e, 0x13, 0x0f, 0x0b], (DATA, read), 0, None),
        ("lss by [rbx], watched", &[0x0f, 0xb2, 0x23, 0x90, 0x90], (DATA + 4, read), 0, Some((3, 2))),
        ("mov ss, TF: its own step is lost", &[0x8e, 0xd0, 0x90], (0, 0), TF, Some((3, BS))),
        ("lss, TF: a step of its own", &[0x0f, 0xb2, 0x23, 0x90], (0, 0), TF, Some((3, BS))),
    ];
    for (name, code, (address, dr7), tf, found) in rows {
        let mut guest = with_breakpoint(code, address, dr7);
        guest.registers.rflags |= tf;
        guest.registers.rax = KERNEL_DATA_SELECTOR.into();
        // MOV SS takes the first word; LSS, of 32 bits, the one behind ESP.
        let words = u64::from(KERNEL_DATA_SELECTOR) << 32 | if code[0] == 0x0f { stack } else { 0x10 };
        guest.put64(DATA, words);
        let expect = match found {
            Some((offset, bits)) => trap(&guest, offset, bits),
            None if code.ends_with(&[0x0f, 0x0b]) => {
                Expect::fault_at(vector::UD, 0, CODE + 2).value("dr6", why, 0)
            }
            None => Expect::done().value("dr6", why, 0),
        };
        cases.push(Case::new(format!("shadow: {name}"), section, guest, expect));
    }
    // POP SS, in 32-bit code.
    for (name, address, dr7, offset) in
        [("breakpoint behind it", at(1), execute, None), ("watched", stack - 4, read, Some(2))]
    {
        let mut guest = Guest::protected(0, &[0x17, 0x90, 0x90]);
        guest.push32(KERNEL_DATA_SELECTOR.into());
        (guest.debug.addresses[1], guest.debug.dr7) = (address, dr7 | 0x400);
        let expect = match offset {
            Some(offset) => trap(&guest, offset, 2),
            None => Expect::done().value("dr6", why, 0),
        };
        cases.push(Case::new(format!("shadow: pop ss, {name}"), section, guest, expect));
    }
    // Held until the handler of the INT n behind it has been entered.
    let mut guest = with_breakpoint(&[0x8e, 0x13, 0xcd, TEST_VECTOR], DATA, read);
    guest.put64(DATA, KERNEL_DATA_SELECTOR.into());
    let expect = Expect::event(vector::DB).rip(stub(TEST_VECTOR)).value("dr6", why, 2);
    cases.push(Case::new("shadow: mov ss by [rbx], watched, then int n", section, guest, expect));
    // A state that was saved in between.
    let mut guest = with_breakpoint(&[0x90, 0x90], at(0), execute);
    guest.events.interrupt_shadow = 1;
    cases.push(Case::new("shadow: state of mov ss, breakpoint", section, guest, Expect::done()));
}

/// HLT ends by a debug trap of its own (SDM vol. 2, HLT).
fn halts(cases: &mut Vec<Case>) {
    let section = "SDM vol. 2, HLT";
    // Where #DB comes, and the way out of HLT.
    let rows: [(&str, &[u8], u64, u64); 5] = [
        ("hlt", &[0xf4, 0x90], 1, 0),
        ("hlt, IF set", &[0xf4, 0x90], 1, IF),
        ("nop", &[0x90, 0xf4, 0x90], 1, 0),
        ("mov ss; hlt", &[0x8e, 0xd0, 0xf4, 0x90], 3, 0),
        ("popfq that sets TF; hlt", &[0x9d, 0xf4, 0x90], 2, 0),
    ];
    for (name, code, offset, flags) in rows {
        let mut guest = Guest::long(0, code);
        guest.registers.rax = KERNEL_DATA_SELECTOR.into();
        if code[0] == 0x9d {
            guest.push64(TF | 2);
        } else {
            guest.registers.rflags |= TF | flags;
        }
        let expect = trap(&guest, offset, BS);
        cases.push(Case::new(format!("single step of {name}"), section, guest, expect));
    }
    let mut guest = with_breakpoint(&[0x8e, 0x13, 0xf4, 0x90], DATA, 1 << 2 | 3 << 20 | 1 << 22);
    guest.put64(DATA, KERNEL_DATA_SELECTOR.into());
    let expect = trap(&guest, 3, 2);
    cases.push(Case::new("data breakpoint of mov ss; hlt", section, guest, expect));
    let guest = with_breakpoint(&[0x90, 0xf4, 0x90], CODE + 1, 1 << 2);
    let expect = trap(&guest, 1, 2);
    cases.push(Case::new("breakpoint on hlt", section, guest, expect));
}

/// String instructions that repeat: a trap at the end of each iteration, with RF but after the last (SDM vol. 3,
/// 18.3.1.1).
fn repeats(cases: &mut Vec<Case>) {
    for (count, offset, rf) in [(3, 0, RF), (1, 2, 0), (0, 2, 0)] {
        let mut guest = Guest::long(0, &[0xf3, 0xaa, 0x90]);
        guest.registers.rflags |= TF;
        (guest.registers.rcx, guest.registers.rdi) = (count, DATA);
        let expect = trap(&guest, offset, BS)
            .value("RF in the frame", |outcome| outcome.frame.rflags & RF, rf)
            .value("RF in the handler", |outcome| outcome.state.registers.rflags & RF, 0);
        cases.push(Case::new(format!("single step of rep stosb, {count} left"), STEP, guest, expect));
    }
    let mut guest = with_breakpoint(&[0xf3, 0xaa, 0x90], DATA + 1, 1 << 2 | 1 << 20);
    (guest.registers.rcx, guest.registers.rdi) = (4, DATA);
    let expect = trap(&guest, 0, 2).value("rcx", |outcome| outcome.state.registers.rcx, 2);
    cases.push(Case::new("data breakpoint: rep stosb, its second", BREAK, guest, expect));
}

fn registers(cases: &mut Vec<Case>) {
    let section = "SDM vol. 3, 18.2; vol. 2, MOV to and from debug registers";
    let rows: [(&str, &[u8], u8, u64, u64); 7] = [
        ("mov dr7, bit 32 set", &[0x0f, 0x23, 0xf8], 0, 1 << 32, 0),
        ("mov dr6, bit 32 set", &[0x0f, 0x23, 0xf0], 0, 1 << 32, 0),
        ("mov dr0 at cpl 3", &[0x0f, 0x23, 0xc0], 3, 0, 0),
        ("mov from dr0 at cpl 3", &[0x0f, 0x21, 0xc0], 3, 0, 0),
        ("mov dr4 with CR4.DE", &[0x0f, 0x23, 0xe0], 0, 0, 8),
        ("mov from dr5 with CR4.DE", &[0x0f, 0x21, 0xe8], 0, 0, 8),
        ("mov dr6 with DR7.GD", &[0x0f, 0x23, 0xf0], 0, 0, 0),
    ];
    for (name, code, cpl, rax, cr4) in rows {
        let mut guest = Guest::long(cpl, code);
        guest.registers.rax = rax;
        guest.system.cr4 |= cr4;
        let expect = match (cr4, name.ends_with("GD")) {
            (_, true) => {
                guest.debug.dr7 |= 1 << 13;
                Expect::fault(&guest, vector::DB, 0).value("dr6", why, BD).value(
                    "dr7.gd",
                    |outcome| outcome.state.debug.dr7 & 1 << 13,
                    0,
                )
            }
            (0, _) => Expect::fault(&guest, vector::GP, 0),
            _ => Expect::fault(&guest, vector::UD, 0),
        };
        cases.push(Case::new(name, section, guest, expect));
    }
    let mut guest = Guest::long(0, &[0x0f, 0x21, 0xe0]);
    guest.debug.dr6 |= BS;
    let expect = Expect::done().rax(0xffff_0ff0 | BS);
    cases.push(Case::new("mov from dr4 is dr6", section, guest, expect));
}
