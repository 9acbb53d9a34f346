//! Software interrupts and fast system calls (SDM vol. 2: INT n, SYSCALL, SYSRET, SYSENTER, SYSEXIT).

use arch_model::x86_64::Segment;
use iced_x86::{Code, Mnemonic};

use super::Form;
use crate::cpu::debug::BS;
use crate::cpu::event::{Event, Source};
use crate::cpu::mode::efer;
use crate::cpu::{Core, Exec, Mode, flags, gpr, seg, vector};
use crate::decode::insn::{Handler, Insn};

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    Some(match form.mnemonic {
        Mnemonic::Int => int,
        Mnemonic::Int3 => int3,
        Mnemonic::Int1 => int1,
        Mnemonic::Into => into,
        Mnemonic::Syscall => syscall,
        Mnemonic::Sysret => sysret::<4>,
        Mnemonic::Sysretq => sysret::<8>,
        Mnemonic::Sysenter => sysenter,
        Mnemonic::Sysexit => match form.insn.code() {
            Code::Sysexitq => sysexit::<8>,
            _ => sysexit::<4>,
        },
        Mnemonic::Sysexitq => sysexit::<8>,
        _ => return None,
    })
}

/// Delivers a software interrupt; RIP is the handler's afterwards.
fn software(core: &mut Core<'_>, vector: u8) -> Exec {
    let return_rip = core.next_rip();
    let stepping = core.is_stepping();
    core.deliver(Event { vector, error: None, source: Source::Software, return_rip })?;
    let entry = core.rip;
    core.set_next_rip(entry);
    if stepping {
        // TF was cleared on the way in (SDM vol. 3, 18.3.1.4).
        core.cancel_single_step();
    }
    Ok(())
}

fn int(core: &mut Core<'_>, insn: &Insn) -> Exec {
    if core.mode == Mode::Virtual86 && core.flags.iopl() < 3 {
        return core.general_protection(0);
    }
    software(core, insn.imm as u8)
}

fn int3(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    software(core, vector::BP)
}

fn int1(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    // A trap like any other of the CPU: no gate's privilege level stops it.
    core.trap_behind(0)
}

fn into(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    if core.flags.of() { software(core, vector::OF) } else { Ok(()) }
}

/// Flat code or data with privilege `dpl`.
fn flat(selector: u64, code: bool, dpl: u8, long: bool) -> Segment {
    Segment {
        selector: selector as u16,
        base: 0,
        limit: 0xffff_ffff,
        kind: if code { 11 } else { 3 },
        code_or_data: true,
        dpl,
        present: true,
        available: false,
        long: code && long,
        default_big: !(code && long),
        granular: true,
        unusable: false,
    }
}

fn enter(core: &mut Core<'_>, code: Segment, stack: Segment) {
    core.cpu.segments[seg::CS] = code;
    core.cpu.cpl = code.dpl;
    core.update_mode();
    core.set_segment(seg::SS, stack);
}

fn syscall(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    // As on Intel's CPUs: 64-bit mode only.
    if core.mode != Mode::Long || core.efer & efer::SCE == 0 {
        return core.undefined();
    }
    let selector = core.msrs.star >> 32 & 0xfffc;
    if core.is_stepping() && core.msrs.syscall_mask & flags::TF != 0 {
        // TF counts as SYSCALL leaves it.
        core.cancel_single_step();
    }
    core.cpu.gpr[gpr::RCX] = core.next_rip();
    core.cpu.gpr[gpr::R11] = core.flags.get() & !flags::RF;
    let masked = core.flags.get() & !(core.msrs.syscall_mask | flags::RF);
    core.cpu.flags.set(masked);
    let entry = core.msrs.lstar;
    core.set_next_rip(entry);
    enter(core, flat(selector, true, 0, true), flat(selector + 8, false, 0, true));
    Ok(())
}

fn sysret<const SIZE: u8>(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    if core.mode != Mode::Long || core.efer & efer::SCE == 0 {
        return core.undefined();
    }
    core.require_cpl0()?;
    let long = SIZE == 8;
    let target = core.gpr[gpr::RCX];
    if long && (target as i64) << 16 >> 16 != target as i64 {
        return core.general_protection(0);
    }
    let selector = core.msrs.star >> 48;
    let code = if long { selector + 16 } else { selector } | 3;
    let rflags = core.gpr[gpr::R11] & 0x3c_7fd7;
    core.cpu.flags.set(rflags);
    core.set_next_rip(if long { target } else { target & 0xffff_ffff });
    enter(core, flat(code, true, 3, long), flat((selector + 8) | 3, false, 3, true));
    core.recheck_interrupts();
    // TF counts as SYSRET leaves it, so the trap comes before the next instruction.
    core.cancel_single_step();
    if core.flags.has(flags::TF) { core.trap_behind(BS) } else { Ok(()) }
}

fn sysenter(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    let selector = core.msrs.sysenter_cs & 0xfffc;
    if core.mode == Mode::Real || selector == 0 {
        return core.general_protection(0);
    }
    let long = core.is_long_mode();
    core.cpu.flags.put(flags::IF | flags::VM, false);
    let (entry, stack) = (core.msrs.sysenter_eip, core.msrs.sysenter_esp);
    core.set_next_rip(if long { entry } else { entry & 0xffff_ffff });
    core.cpu.gpr[gpr::RSP] = if long { stack } else { stack & 0xffff_ffff };
    enter(core, flat(selector, true, 0, long), flat(selector + 8, false, 0, long));
    Ok(())
}

fn sysexit<const SIZE: u8>(core: &mut Core<'_>, _insn: &Insn) -> Exec {
    let selector = core.msrs.sysenter_cs & 0xfffc;
    if !core.mode.is_protected() || selector == 0 {
        return core.general_protection(0);
    }
    core.require_cpl0()?;
    let long = SIZE == 8;
    let (entry, stack) = (core.gpr[gpr::RDX], core.gpr[gpr::RCX]);
    let canonical = |address: u64| (address as i64) << 16 >> 16 == address as i64;
    if long && !(canonical(entry) && canonical(stack)) {
        return core.general_protection(0);
    }
    let (code, data) = if long { (selector + 32, selector + 40) } else { (selector + 16, selector + 24) };
    core.set_next_rip(if long { entry } else { entry & 0xffff_ffff });
    core.cpu.gpr[gpr::RSP] = if long { stack } else { stack & 0xffff_ffff };
    enter(core, flat(code | 3, true, 3, long), flat(data | 3, false, 3, long));
    core.attention = true;
    Ok(())
}
