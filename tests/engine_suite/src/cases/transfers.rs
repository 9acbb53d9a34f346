//! Far jumps, calls and returns between code segments, IRET (SDM vol. 2: JMP, CALL, RET, IRET; vol. 3, 5.8.1).

use super::{Case, Refusal, vector};
use crate::guest::Guest;
use crate::layout::*;
use crate::outcome::Expect;
use crate::tables::Descriptor;

/// Where transfers go: a user page, which every privilege may execute.
const TARGET: u64 = USER_CODE + 0x100;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for cpl in [0, 3] {
        for (descriptor, rpl) in targets() {
            cases.push(far(cpl, "jmp", 0x2b, descriptor, rpl));
            cases.push(far(cpl, "call", 0x1b, descriptor, rpl));
            cases.push(back(cpl, false, descriptor, rpl));
            cases.push(back(cpl, true, descriptor, rpl));
        }
    }
    cases.extend(stacks());
    cases.push(nested());
    cases
}

fn targets() -> Vec<(Descriptor, u8)> {
    let mut targets = Vec::new();
    for kind in [3u8, 8, 9, 11, 12, 15] {
        for dpl in 0..4u8 {
            for rpl in 0..4u8 {
                for present in [true, false] {
                    for (long, big) in [(true, false), (false, true), (true, true)] {
                        let flat = Descriptor::flat(kind, dpl);
                        targets.push((Descriptor { present, long, big, ..flat }, rpl));
                    }
                }
            }
        }
    }
    for kind in [2u8, 9, 11, 14] {
        targets.push((Descriptor { code_or_data: false, ..Descriptor::flat(kind, 3) }, 0));
    }
    targets
}

/// A guest with the target's code and its descriptor.
fn guest(cpl: u8, code: &[u8], descriptor: Descriptor) -> Guest {
    let mut guest = Guest::long(cpl, code);
    guest.put(TARGET, &[0xcd, DONE]);
    guest.descriptor(TEST, descriptor);
    guest
}

fn name(cpl: u8, what: &str, descriptor: Descriptor, rpl: u8) -> String {
    let Descriptor { kind, code_or_data, dpl, present, long, big, .. } = descriptor;
    let shape = if code_or_data { "type" } else { "system type" };
    format!("cpl {cpl} {what}: {shape} {kind} dpl {dpl} rpl {rpl} present {present} L {long} D {big}")
}

/// A jump or call through m16:32.
fn far(cpl: u8, what: &'static str, modrm: u8, descriptor: Descriptor, rpl: u8) -> Case {
    let mut guest = guest(cpl, &[0xff, modrm], descriptor);
    let selector = TEST | u16::from(rpl);
    guest.put64(DATA, TARGET | u64::from(selector) << 32);
    let dpl = descriptor.dpl;
    let privileged = if descriptor.is_conforming() { dpl > cpl } else { rpl > cpl || dpl != cpl };
    let expect = if !descriptor.is_code() || privileged || (descriptor.long && descriptor.big) {
        Expect::fault(&guest, vector::GP, TEST.into())
    } else if !descriptor.present {
        Expect::fault(&guest, vector::NP, TEST.into())
    } else {
        let expect = Expect::done().rip(TARGET + 2).cs(TEST | u16::from(cpl));
        let (sp, cs) = (guest.registers.rsp, u64::from(guest.system.cs.selector));
        match what {
            "call" => expect.rsp(sp - 8).memory(sp - 8, u64::MAX, (guest.start + 2) | cs << 32),
            _ => expect.rsp(sp),
        }
    };
    Case::new(name(cpl, what, descriptor, rpl), "SDM vol. 2, JMP and CALL; vol. 3, 5.8.1", guest, expect)
}

/// RETFQ or IRETQ, with a stack of the right privilege.
fn back(cpl: u8, interrupt: bool, descriptor: Descriptor, rpl: u8) -> Case {
    let code: &[u8] = if interrupt { &[0x48, 0xcf] } else { &[0x48, 0xcb] };
    let mut guest = guest(cpl, code, descriptor);
    let selector = TEST | u16::from(rpl);
    let stack = USER_STACK - 0x80;
    guest.push64(stack_selector(rpl).into());
    guest.push64(stack);
    if interrupt {
        guest.push64(0x203);
    }
    guest.push64(selector.into());
    guest.push64(TARGET);
    let dpl = descriptor.dpl;
    let privileged = rpl < cpl || if descriptor.is_conforming() { dpl > rpl } else { dpl != rpl };
    let expect = if !descriptor.is_code() || privileged || (descriptor.long && descriptor.big) {
        Expect::fault(&guest, vector::GP, TEST.into())
    } else if !descriptor.present {
        Expect::fault(&guest, vector::NP, TEST.into())
    } else if interrupt || rpl > cpl {
        let expect = Expect::done().rip(TARGET + 2).cs(selector).rsp(stack).ss(stack_selector(rpl));
        let ds = if rpl > cpl { 0 } else { guest.system.ds.selector };
        expect.value("ds", |outcome| outcome.state.system.ds.selector.into(), ds.into())
    } else {
        Expect::done().rip(TARGET + 2).cs(selector).rsp(guest.registers.rsp + 16)
    };
    let what = if interrupt { "iretq" } else { "retfq" };
    Case::new(name(cpl, what, descriptor, rpl), "SDM vol. 2, RET and IRET; vol. 3, 5.8.1", guest, expect)
}

/// What IRETQ finds wrong with SS.
fn stacks() -> Vec<Case> {
    // CS to return to, SS, outcome: None is success.
    let rows: [(u16, u16, Refusal); 11] = [
        (KERNEL_CODE, KERNEL_DATA_SELECTOR, None),
        (KERNEL_CODE, 0, None),
        (KERNEL_CODE, 3, Some((vector::GP, 0))),
        (KERNEL_CODE, 0x13, Some((vector::GP, 0x10))),
        (KERNEL_CODE, USER_DATA, Some((vector::GP, 0x20))),
        (USER_CODE64, 0, Some((vector::GP, 0))),
        (USER_CODE64, 3, Some((vector::GP, 0))),
        (USER_CODE64, 0x13, Some((vector::GP, 0x10))),
        (USER_CODE64, KERNEL_CODE, Some((vector::GP, 0x08))),
        (USER_CODE64, 0x1fb, Some((vector::GP, 0x1f8))),
        (USER_CODE64, TEST | 3, Some((vector::SS, 0x50))),
    ];
    let make = |(cs, ss, refused): (u16, u16, Refusal)| {
        let mut guest = Guest::long(0, &[0x48, 0xcf]);
        guest.put(TARGET, &[0xcd, DONE]);
        guest.descriptor(TEST, Descriptor { present: false, ..Descriptor::flat(3, 3) });
        for value in [ss.into(), USER_STACK - 0x80, 0x2, cs.into(), TARGET] {
            guest.push64(value);
        }
        let expect = match refused {
            Some((vector, error)) => Expect::fault(&guest, vector, error),
            None => Expect::done().cs(cs).ss(ss).rip(TARGET + 2),
        };
        Case::new(format!("iretq to cs {cs:#x} with ss {ss:#x}"), "SDM vol. 2, IRET", guest, expect)
    };
    rows.into_iter().map(make).collect()
}

/// IRET with NT set: IA-32e mode has no tasks to return to.
fn nested() -> Case {
    let mut guest = Guest::long(0, &[0x48, 0xcf]);
    guest.registers.rflags |= 1 << 14;
    let expect = Expect::fault(&guest, vector::GP, 0);
    Case::new("iretq with NT", "SDM vol. 2, IRET", guest, expect)
}
