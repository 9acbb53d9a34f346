//! When interrupts and NMIs are taken: IF, shadows, HLT, masking until IRET (SDM vol. 3, 6.7 and 6.8).

use super::{Case, vector};
use crate::guest::{Guest, IF};
use crate::layout::*;
use crate::outcome::Expect;
use crate::tables::{P, U, W};

const SHADOW: &str = "SDM vol. 3, 6.8.1, 6.8.3; vol. 2, STI, MOV";
/// The local APIC (SDM vol. 3, 11.4.1).
const APIC: u64 = 0xfee0_0000;
const NMI: &str = "SDM vol. 3, 6.7.1";

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    shadows(&mut cases);
    nmis(&mut cases);
    cases
}

/// With an interrupt pending: where it arrives. Offsets count from the start of the code; RAX is data's selector.
fn shadows(cases: &mut Vec<Case>) {
    let rows: [(&str, &[u8], u64, u64); 13] = [
        ("at once with IF set", &[0x90], IF, 0),
        ("after the instruction behind STI", &[0xfb, 0x90, 0x90], 0, 2),
        ("not behind STI that changes nothing", &[0xfb, 0x90, 0x90], IF, 0),
        ("STI, CLI: never", &[0xfb, 0xfa, 0xfb, 0x90], 0, 4),
        ("STI, STI: the second has no shadow", &[0xfb, 0xfb, 0x90], 0, 2),
        ("STI; MOV DS, which casts none", &[0xfb, 0x8e, 0xd8, 0x90], 0, 3),
        ("POPFQ sets IF: no shadow", &[0x9d, 0x90], 0, 1),
        ("STI; HLT", &[0xfb, 0xf4], 0, 2),
        ("STI amid others", &[0x90, 0xfb, 0x90, 0x90], 0, 3),
        // mov eax, [rbx]
        ("STI amid others; a load", &[0x8b, 0x03, 0xfb, 0x8b, 0x03, 0x90], 0, 5),
        // jmp over the nop
        ("STI amid others; a jump", &[0x90, 0xfb, 0xeb, 1, 0x90, 0x90], 0, 5),
        // call +1; nop; sti; ret
        ("STI; RET", &[0xe8, 1, 0, 0, 0, 0x90, 0xfb, 0xc3], 0, 5),
        ("IF clear: never", &[0x90], 0, u64::MAX),
    ];
    for (name, code, flags, offset) in rows {
        let mut guest = Guest::long(0, code);
        guest.interrupt = Some(INTERRUPT);
        guest.registers.rflags |= flags;
        guest.registers.rax = KERNEL_DATA_SELECTOR.into();
        if code[0] == 0x9d {
            guest.push64(IF | 2);
        }
        let expect = match offset {
            u64::MAX => Expect::done(),
            _ => Expect::event(INTERRUPT).rip(guest.start + offset).value(
                "IF",
                |outcome| outcome.state.registers.rflags & IF,
                0,
            ),
        };
        cases.push(Case::new(format!("interrupt pending: {name}"), SHADOW, guest, expect));
    }
    // One that is sent amid others: mov dword [rbx + 0x300] (ICR, to itself); sti; nop; nop.
    for (name, tail, offset) in [("STI", &[0xfb, 0x90, 0x90][..], 12), ("never", &[0x90, 0x90], u64::MAX)] {
        let mut guest = Guest::long(0, &[&[0xc7, 0x83, 0, 3, 0, 0, INTERRUPT, 0x40, 4, 0], tail].concat());
        guest.map_test([P | W | U, P | W | U, P | W | U, P | W], APIC);
        guest.registers.rbx = TEST_ADDRESS;
        // As one with an interrupt: the local APIC is enabled.
        guest.interrupt = Some(1);
        let expect = match offset {
            u64::MAX => Expect::done(),
            _ => Expect::event(INTERRUPT).rip(guest.start + offset),
        };
        cases.push(Case::new(format!("interrupt sent to itself: {name}"), SHADOW, guest, expect));
    }
    // Shadows that come with the state.
    for (bits, offset, name) in [(1, 1, "MOV SS"), (2, 1, "STI"), (0, 0, "none")] {
        let mut guest = Guest::long(0, &[0x90, 0x90]);
        guest.interrupt = Some(INTERRUPT);
        guest.registers.rflags |= IF;
        guest.events.interrupt_shadow = bits;
        let expect = Expect::event(INTERRUPT).rip(guest.start + offset);
        cases.push(Case::new(format!("state with a shadow of {name}"), SHADOW, guest, expect));
    }
    // Priority over the task priority: class 4 against CR8 of 4 stays pending.
    let mut guest = Guest::long(0, &[0xb8, 4, 0, 0, 0, 0x44, 0x0f, 0x22, 0xc0, 0xfb, 0x90, 0x90]);
    guest.interrupt = Some(INTERRUPT);
    cases.push(Case::new("CR8 holds the interrupt back", "SDM vol. 3, 11.8.3", guest, Expect::done()));
}

fn nmis(cases: &mut Vec<Case>) {
    let pending = |code: &[u8], masked: bool| {
        let mut guest = Guest::long(0, code);
        (guest.events.nmi_pending, guest.events.nmi_masked) = (true, masked);
        guest
    };
    let guest = pending(&[0x90], false);
    let expect = Expect::event(vector::NMI).rip(guest.start).value(
        "masked",
        |outcome| outcome.state.events.nmi_masked.into(),
        1,
    );
    cases.push(Case::new("NMI pending", NMI, guest, expect));
    cases.push(Case::new("NMI pending, masked", NMI, pending(&[0x90], true), Expect::done()));
    let mut guest = pending(&[0x48, 0xcf], true);
    let target = guest.start + 0x80;
    guest.put(target, &[0x90, 0xcd, DONE]);
    for value in [KERNEL_DATA_SELECTOR.into(), STACK - 0x100, 2, KERNEL_CODE.into(), target] {
        guest.push64(value);
    }
    let expect = Expect::event(vector::NMI).rip(target);
    cases.push(Case::new("NMI pending until IRET", NMI, guest, expect));
    // IRET that faults unmasks as well: the NMI comes before the handler's first instruction.
    let mut guest = pending(&[0x48, 0xcf], true);
    guest.registers.rflags |= 1 << 14;
    let expect = Expect::event(vector::NMI).rip(stub(vector::GP));
    cases.push(Case::new("NMI pending until an IRET that faults", NMI, guest, expect));
    // Before an interrupt that is pending too (SDM vol. 3, table 6-2).
    let mut guest = pending(&[0x90], false);
    guest.interrupt = Some(INTERRUPT);
    guest.registers.rflags |= IF;
    let expect = Expect::event(vector::NMI).rip(guest.start);
    cases.push(Case::new("NMI before an interrupt", "SDM vol. 3, 6.9", guest, expect));
    let mut guest = pending(&[0x90, 0x90], false);
    guest.events.interrupt_shadow = 1;
    let expect = Expect::event(vector::NMI).rip(guest.start + 1);
    cases.push(Case::new("NMI in the shadow of MOV SS", "SDM vol. 3, 6.8.3", guest, expect));
}
