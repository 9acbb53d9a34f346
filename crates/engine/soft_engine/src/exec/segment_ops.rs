//! Segment registers and descriptors as operands (SDM vol. 2: MOV, PUSH, POP, LDS, LAR, LSL, VERR, ARPL, and
//! WRFSBASE and its kin).

use arch_model::x86_64::Segment;
use iced_x86::{Mnemonic, OpKind};

use super::{Form, by_size};
use crate::cpu::mode::cr4;
use crate::cpu::segment::{SegmentType, is_null, rpl, system_type};
use crate::cpu::{Core, Exec, Mode, Word, flags, seg, shadow};
use crate::decode::insn::{Handler, Insn};

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    let is_segment = |operand: u32| {
        operand < form.insn.op_count()
            && form.insn.op_kind(operand) == OpKind::Register
            && form.insn.op_register(operand).is_segment_register()
    };
    Some(match form.mnemonic {
        Mnemonic::Mov if is_segment(0) => mov_to_segment,
        Mnemonic::Mov if is_segment(1) => match form.insn.op0_kind() {
            OpKind::Register => return by_size!(form, segment_to_register),
            _ => segment_to_memory,
        },
        Mnemonic::Push if is_segment(0) => push_by(form),
        Mnemonic::Pop if is_segment(0) => pop_by(form),
        Mnemonic::Lds => load_far::<{ seg::DS }>,
        Mnemonic::Les => load_far::<{ seg::ES }>,
        Mnemonic::Lfs => load_far::<{ seg::FS }>,
        Mnemonic::Lgs => load_far::<{ seg::GS }>,
        Mnemonic::Lss => load_far::<{ seg::SS }>,
        Mnemonic::Lar => return by_size!(form, lar),
        Mnemonic::Lsl => return by_size!(form, lsl),
        Mnemonic::Verr => verify::<false>,
        Mnemonic::Verw => verify::<true>,
        Mnemonic::Arpl => arpl,
        Mnemonic::Rdfsbase => return by_size!(form, read_fs_base),
        Mnemonic::Rdgsbase => return by_size!(form, read_gs_base),
        Mnemonic::Wrfsbase => return by_size!(form, write_fs_base),
        Mnemonic::Wrgsbase => return by_size!(form, write_gs_base),
        _ => return None,
    })
}

fn push_by(form: &Form<'_>) -> Handler {
    match -form.insn.stack_pointer_increment() {
        2 => push_segment::<2>,
        4 => push_segment::<4>,
        _ => push_segment::<8>,
    }
}

fn pop_by(form: &Form<'_>) -> Handler {
    match form.insn.stack_pointer_increment() {
        2 => pop_segment::<2>,
        4 => pop_segment::<4>,
        _ => pop_segment::<8>,
    }
}

fn mov_to_segment(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let register = usize::from(insn.ops[0].register);
    if register == seg::CS {
        return core.undefined();
    }
    let selector: u16 = core.read(insn, 1)?;
    core.load_segment(register, selector)?;
    shadow_after_ss(core, register);
    Ok(())
}

/// Loading SS by MOV or POP holds interrupts and debug traps off for one instruction (SDM vol. 3, 6.8.3).
fn shadow_after_ss(core: &mut Core<'_>, register: usize) {
    if register == seg::SS {
        core.cpu.shadow = shadow::MOV_SS;
        core.attention = true;
    }
}

fn segment_to_register<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let selector = core.segments[usize::from(insn.ops[1].register)].selector;
    core.write(insn, 0, T::from_u64(selector.into()))
}

fn segment_to_memory(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let selector = core.segments[usize::from(insn.ops[1].register)].selector;
    core.write(insn, 0, selector)
}

fn push_segment<const SIZE: u8>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let selector = core.segments[usize::from(insn.ops[0].register)].selector;
    core.push_sized(SIZE, selector.into())
}

fn pop_segment<const SIZE: u8>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let register = usize::from(insn.ops[0].register);
    let selector = core.peek(SIZE, 0)? as u16;
    // The new SS does not count for where the stack pointer goes.
    let after = core.stack_offset(SIZE.into());
    core.load_segment(register, selector)?;
    core.set_stack_pointer(after);
    shadow_after_ss(core, register);
    Ok(())
}

fn load_far<const REGISTER: usize>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let size = insn.size;
    let at = core.effective_address(insn);
    let offset = core.load_sized(insn.segment.into(), at, size)?;
    let selector: u16 = core.load(insn.segment.into(), at.wrapping_add(size.into()))?;
    core.load_segment(REGISTER, selector)?;
    core.set_reg_sized(insn.ops[0].register.into(), size, offset);
    Ok(())
}

/// The descriptor that LAR, LSL, VERR and VERW look at; `None` if this privilege may not see it.
fn visible(core: &mut Core<'_>, selector: u16) -> Exec<Option<(Segment, u64)>> {
    if is_null(selector) {
        return Ok(None);
    }
    let Some(descriptor) = core.descriptor(selector)? else { return Ok(None) };
    let segment = descriptor.segment(selector);
    let privileged = !segment.is_conforming() && core.cpl.max(rpl(selector)) > segment.dpl;
    Ok((!privileged).then_some((segment, descriptor.raw)))
}

fn set_zero_flag(core: &mut Core<'_>, on: bool) {
    core.cpu.flags.set_some(flags::ZF, if on { flags::ZF } else { 0 });
}

fn require_protected(core: &mut Core<'_>) -> Exec {
    if core.mode.is_protected() { Ok(()) } else { core.undefined() }
}

fn lar<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    require_protected(core)?;
    let selector: u16 = core.read(insn, 1)?;
    let found = visible(core, selector)?.filter(|(segment, _)| {
        let legacy = matches!(
            segment.kind,
            system_type::TSS16 | system_type::TSS16_BUSY | system_type::CALL_GATE16 | system_type::TASK_GATE
        );
        let both = matches!(
            segment.kind,
            system_type::LDT | system_type::TSS | system_type::TSS_BUSY | system_type::CALL_GATE
        );
        segment.code_or_data || both || (legacy && !core.is_long_mode())
    });
    if let Some((_, raw)) = found {
        core.write(insn, 0, T::from_u64(raw >> 32 & 0x00ff_ff00))?;
    }
    set_zero_flag(core, found.is_some());
    Ok(())
}

fn lsl<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    require_protected(core)?;
    let selector: u16 = core.read(insn, 1)?;
    let found = visible(core, selector)?.filter(|(segment, _)| {
        let legacy = matches!(segment.kind, system_type::TSS16 | system_type::TSS16_BUSY);
        let both = matches!(segment.kind, system_type::LDT | system_type::TSS | system_type::TSS_BUSY);
        segment.code_or_data || both || (legacy && !core.is_long_mode())
    });
    if let Some((segment, _)) = found {
        core.write(insn, 0, T::from_u64(segment.limit.into()))?;
    }
    set_zero_flag(core, found.is_some());
    Ok(())
}

fn verify<const WRITE: bool>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    require_protected(core)?;
    let selector: u16 = core.read(insn, 0)?;
    let found = visible(core, selector)?;
    let may = |segment: &Segment| if WRITE { segment.is_writable() } else { segment.is_readable() };
    set_zero_flag(core, found.is_some_and(|(segment, _)| may(&segment)));
    Ok(())
}

fn arpl(core: &mut Core<'_>, insn: &Insn) -> Exec {
    require_protected(core)?;
    let source: u16 = core.read(insn, 1)?;
    let old =
        core.update(insn, 0, |old: u16| if old & 3 < source & 3 { old & !3 | source & 3 } else { old })?;
    set_zero_flag(core, old & 3 < source & 3);
    Ok(())
}

fn require_fsgsbase(core: &mut Core<'_>) -> Exec {
    if core.mode == Mode::Long && core.cr4 & cr4::FSGSBASE != 0 { Ok(()) } else { core.undefined() }
}

fn read_base<T: Word>(core: &mut Core<'_>, insn: &Insn, register: usize) -> Exec {
    require_fsgsbase(core)?;
    let base = core.segments[register].base;
    core.write(insn, 0, T::from_u64(base))
}

fn write_base<T: Word>(core: &mut Core<'_>, insn: &Insn, register: usize) -> Exec {
    require_fsgsbase(core)?;
    let base = core.read::<T>(insn, 0)?.to_u64();
    if (base as i64) << 16 >> 16 != base as i64 {
        return core.general_protection(0);
    }
    let segment = Segment { base, ..core.segments[register] };
    core.set_segment(register, segment);
    Ok(())
}

fn read_fs_base<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    read_base::<T>(core, insn, seg::FS)
}

fn read_gs_base<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    read_base::<T>(core, insn, seg::GS)
}

fn write_fs_base<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    write_base::<T>(core, insn, seg::FS)
}

fn write_gs_base<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    write_base::<T>(core, insn, seg::GS)
}
