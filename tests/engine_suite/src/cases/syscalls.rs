//! SYSCALL, SYSRET, SYSENTER, SYSEXIT (SDM vol. 2, under each; vol. 3, 5.8.7 and 5.8.8).

use arch_model::x86_64::msr;

use super::{Case, vector};
use crate::guest::{EFER_LONG, Guest, TF};
use crate::layout::*;
use crate::outcome::Expect;

const CALL: &str = "SDM vol. 2, SYSCALL and SYSRET";
const ENTER: &str = "SDM vol. 2, SYSENTER and SYSEXIT";
const TARGET: u64 = USER_CODE + 0x100;
/// IF and TF and DF: what systems mask.
const MASK: u64 = 0x700;
const STAR: u64 = (KERNEL_CODE as u64) << 32 | (0x18 | 3) << 48;
const NOT_CANONICAL: u64 = 0x8000_0000_0000;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    calls(&mut cases);
    returns(&mut cases);
    enters(&mut cases);
    exits(&mut cases);
    cases
}

fn guest(cpl: u8, code: &[u8]) -> Guest {
    let mut guest = Guest::long(cpl, code);
    guest.put(TARGET, &[0xcd, DONE]);
    guest.msrs = vec![
        (msr::STAR, STAR),
        (msr::LSTAR, TARGET),
        (msr::SYSCALL_MASK, MASK),
        (msr::SYSENTER_CS, KERNEL_CODE.into()),
        (msr::SYSENTER_EIP, TARGET),
        (msr::SYSENTER_ESP, STACK - 0x40),
    ];
    guest
}

fn calls(cases: &mut Vec<Case>) {
    for cpl in [0, 3] {
        let mut guest = guest(cpl, &[0x0f, 0x05]);
        guest.registers.rflags = 0x602 | 1; // DF, IF, CF
        let expect = Expect::done()
            .rip(TARGET + 2)
            .cs(KERNEL_CODE)
            .ss(KERNEL_DATA_SELECTOR)
            .rsp(guest.registers.rsp)
            .value("rcx", |outcome| outcome.state.registers.rcx, guest.start + 2)
            .value("r11", |outcome| outcome.state.registers.r11, 0x603)
            .value("rflags", |outcome| outcome.frame.rflags & 0x7ff, 0x003);
        cases.push(Case::new(format!("syscall from cpl {cpl}"), CALL, guest, expect));
    }
    // TF as SYSCALL leaves it decides about the single step (the manual gives the operation; processors do so).
    let mut step = guest(3, &[0x0f, 0x05]);
    step.registers.rflags |= TF;
    let expect = Expect::done().rip(TARGET + 2).cs(KERNEL_CODE);
    cases.push(Case::new("syscall that masks TF", CALL, step, expect));
    let mut off = guest(3, &[0x0f, 0x05]);
    off.system.efer = EFER_LONG & !1;
    let expect = Expect::fault(&off, vector::UD, 0);
    cases.push(Case::new("syscall with EFER.SCE clear", CALL, off, expect));
    let mut off = guest(0, &[0x48, 0x0f, 0x07]);
    off.system.efer = EFER_LONG & !1;
    let expect = Expect::fault(&off, vector::UD, 0);
    cases.push(Case::new("sysret with EFER.SCE clear", CALL, off, expect));
}

fn returns(cases: &mut Vec<Case>) {
    let sysret = |code: &[u8], rcx: u64, cpl: u8| {
        let mut guest = guest(cpl, code);
        guest.registers.rcx = rcx;
        guest.registers.r11 = 0x3ff_ffff_ffff & !0x100 | 0x8000;
        guest
    };
    let long = sysret(&[0x48, 0x0f, 0x07], TARGET, 0);
    // R11 AND 3C7FD7H, bit 1 set (without TF, which the case leaves out).
    let flags = 0x3c_7fd7 & !0x100 | 2;
    let expect = Expect::done()
        .rip(TARGET + 2)
        .cs(USER_CODE64)
        .ss(USER_DATA)
        .value("rflags", |outcome| outcome.frame.rflags, flags)
        .rsp(long.registers.rsp);
    cases.push(Case::new("sysretq loads the flags", CALL, long, expect));
    let short = sysret(&[0x0f, 0x07], TARGET | 0xff_0000_0000, 0);
    let expect = Expect::done().rip(TARGET + 2).cs(USER_CODE32).ss(USER_DATA);
    cases.push(Case::new("sysretd", CALL, short, expect));
    // TF as SYSRET leaves it decides about the single step, which comes before the next instruction.
    let mut step = sysret(&[0x48, 0x0f, 0x07], TARGET, 0);
    step.registers.r11 = TF | 2;
    let expect = Expect::event(vector::DB).rip(TARGET).cs(USER_CODE64).value(
        "dr6",
        |outcome| outcome.state.debug.dr6 & 0xe00f,
        1 << 14,
    );
    cases.push(Case::new("sysretq that sets TF", CALL, step, expect));
    let mut step = sysret(&[0x48, 0x0f, 0x07], TARGET, 0);
    step.registers.r11 = 2;
    step.registers.rflags |= TF;
    let expect = Expect::done().rip(TARGET + 2).cs(USER_CODE64);
    cases.push(Case::new("sysretq that clears TF", CALL, step, expect));
    let guest = sysret(&[0x48, 0x0f, 0x07], NOT_CANONICAL, 0);
    let expect = Expect::fault(&guest, vector::GP, 0).cs(KERNEL_CODE);
    cases.push(Case::new("sysretq to an address that is not canonical", CALL, guest, expect));
    let guest = sysret(&[0x48, 0x0f, 0x07], TARGET, 3);
    let expect = Expect::fault(&guest, vector::GP, 0);
    cases.push(Case::new("sysretq at cpl 3", CALL, guest, expect));
}

fn enters(cases: &mut Vec<Case>) {
    for cpl in [0, 3] {
        let mut guest = guest(cpl, &[0x0f, 0x34]);
        guest.registers.rflags = 0x602;
        let expect = Expect::done()
            .rip(TARGET + 2)
            .cs(KERNEL_CODE)
            .ss(KERNEL_DATA_SELECTOR)
            .rsp(STACK - 0x40)
            .value("rflags", |outcome| outcome.frame.rflags & 0x7ff, 0x402);
        cases.push(Case::new(format!("sysenter from cpl {cpl}"), ENTER, guest, expect));
        for (selector, what) in [(0, "null"), (3, "null with RPL 3")] {
            let mut guest = self::guest(cpl, &[0x0f, 0x34]);
            guest.msrs.push((msr::SYSENTER_CS, selector));
            let expect = Expect::fault(&guest, vector::GP, 0);
            cases.push(Case::new(format!("sysenter from cpl {cpl}, CS {what}"), ENTER, guest, expect));
        }
    }
}

fn exits(cases: &mut Vec<Case>) {
    const STACK_TOP: u64 = USER_STACK - 0x40;
    let sysexit = |code: &[u8], cpl: u8, rdx: u64, rcx: u64| {
        let mut guest = guest(cpl, code);
        (guest.registers.rdx, guest.registers.rcx) = (rdx, rcx);
        guest
    };
    let (long, short): (&[u8], &[u8]) = (&[0x48, 0x0f, 0x35], &[0x0f, 0x35]);
    let guest = sysexit(long, 0, TARGET, STACK_TOP);
    let expect = Expect::done().rip(TARGET + 2).cs(0x2b).ss(0x33).rsp(STACK_TOP);
    cases.push(Case::new("sysexitq", ENTER, guest, expect));
    let guest = sysexit(short, 0, TARGET | 1 << 40, STACK_TOP | 1 << 40);
    let expect = Expect::done().rip(TARGET + 2).cs(0x1b).ss(0x23).rsp(STACK_TOP);
    cases.push(Case::new("sysexitd", ENTER, guest, expect));
    let refused = [
        ("at cpl 3", 3, TARGET, STACK_TOP),
        ("to RDX not canonical", 0, NOT_CANONICAL, STACK_TOP),
        ("with RCX not canonical", 0, TARGET, NOT_CANONICAL),
    ];
    for (what, cpl, rdx, rcx) in refused {
        let guest = sysexit(long, cpl, rdx, rcx);
        let expect = Expect::fault(&guest, vector::GP, 0);
        cases.push(Case::new(format!("sysexitq {what}"), ENTER, guest, expect));
    }
    let mut guest = sysexit(long, 0, TARGET, STACK_TOP);
    guest.msrs.push((msr::SYSENTER_CS, 0));
    let expect = Expect::fault(&guest, vector::GP, 0);
    cases.push(Case::new("sysexitq with CS null", ENTER, guest, expect));
}
