//! Near branches: JMP, Jcc, CALL, RET, LOOP, JCXZ.
//!
//! All checks of the target come before anything is changed: beyond CS's limit, or not canonical in 64-bit mode, it
//! raises #GP(0).

use iced_x86::{Code, Instruction, Mnemonic, OpKind};

use super::{Form, by_condition, condition, wrap};
use crate::cpu::{Core, Exec, Mode, Word, gpr, seg};
use crate::decode::insn::{Handler, Insn};

/// Handlers generic over the operand size, 2, 4 or 8 bytes: the width of the target.
macro_rules! by_width {
    ($width:expr, $handler:ident) => {
        match $width {
            2 => Some($handler::<u16> as Handler),
            4 => Some($handler::<u32> as Handler),
            8 => Some($handler::<u64> as Handler),
            _ => None,
        }
    };
}

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    let insn = form.insn;
    let width = target_width(form);
    match form.mnemonic {
        _ if insn.is_jcc_short_or_near() => conditional(condition(insn)?, width),
        Mnemonic::Jmp if insn.is_jmp_short_or_near() => by_width!(width, jmp),
        Mnemonic::Jmp if insn.is_jmp_near_indirect() => by_width!(width, jmp_indirect),
        Mnemonic::Call if insn.is_call_near() => by_width!(width, call),
        Mnemonic::Call if insn.is_call_near_indirect() => by_width!(width, call_indirect),
        Mnemonic::Ret => by_width!(width, ret),
        Mnemonic::Loop => by_width!(width, looping),
        Mnemonic::Loope => by_width!(width, looping_while_zero),
        Mnemonic::Loopne => by_width!(width, looping_until_zero),
        Mnemonic::Jcxz | Mnemonic::Jecxz | Mnemonic::Jrcxz => by_width!(width, jump_if_counted_down),
        _ => None,
    }
}

/// Size of the counter register of LOOP and JCXZ, in bytes; 8 for everything else.
pub fn counter_size(insn: &Instruction) -> u8 {
    match insn.code() {
        Code::Loop_rel8_16_CX
        | Code::Loop_rel8_32_CX
        | Code::Loope_rel8_16_CX
        | Code::Loope_rel8_32_CX
        | Code::Loopne_rel8_16_CX
        | Code::Loopne_rel8_32_CX
        | Code::Jcxz_rel8_16
        | Code::Jcxz_rel8_32 => 2,
        Code::Loop_rel8_16_ECX
        | Code::Loop_rel8_32_ECX
        | Code::Loop_rel8_64_ECX
        | Code::Loope_rel8_16_ECX
        | Code::Loope_rel8_32_ECX
        | Code::Loope_rel8_64_ECX
        | Code::Loopne_rel8_16_ECX
        | Code::Loopne_rel8_32_ECX
        | Code::Loopne_rel8_64_ECX
        | Code::Jecxz_rel8_16
        | Code::Jecxz_rel8_32
        | Code::Jecxz_rel8_64 => 4,
        _ => 8,
    }
}

fn target_width(form: &Form<'_>) -> usize {
    match form.insn.op0_kind() {
        OpKind::NearBranch16 => 2,
        OpKind::NearBranch32 => 4,
        OpKind::NearBranch64 => 8,
        _ => match form.insn.code() {
            Code::Retnw | Code::Retnw_imm16 => 2,
            Code::Retnd | Code::Retnd_imm16 => 4,
            Code::Retnq | Code::Retnq_imm16 => 8,
            _ => form.size,
        },
    }
}

fn conditional(code: u8, width: usize) -> Option<Handler> {
    match width {
        2 => by_condition!(code, jump_if, u16),
        4 => by_condition!(code, jump_if, u32),
        8 => by_condition!(code, jump_if, u64),
        _ => None,
    }
}

/// SDM vol. 2A, Jcc.
fn jump_if<T: Word, const CONDITION: u8>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    if core.flags.condition(CONDITION) { jmp::<T>(core, insn) } else { Ok(()) }
}

/// SDM vol. 2A, JMP.
fn jmp<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let target = relative::<T>(core, insn);
    check_target(core, target)?;
    core.set_next_rip(target);
    Ok(())
}

fn jmp_indirect<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let target = core.read::<T>(insn, 0)?.to_u64();
    check_target(core, target)?;
    core.set_next_rip(target);
    Ok(())
}

/// SDM vol. 2A, CALL.
fn call<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let target = relative::<T>(core, insn);
    call_to::<T>(core, target)
}

fn call_indirect<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let target = core.read::<T>(insn, 0)?.to_u64();
    call_to::<T>(core, target)
}

#[inline(always)]
fn call_to<T: Word>(core: &mut Core<'_>, target: u64) -> Exec {
    let offset = core.stack_offset(-(T::BYTES as i64));
    if let Err(raised) = check_target(core, target) {
        // What is wrong with the stack comes first: its fault takes the place of this one.
        core.check_push::<T>(offset)?;
        return Err(raised);
    }
    core.store(seg::SS, offset, T::from_u64(core.next_rip()))?;
    core.set_stack_pointer(offset);
    core.set_next_rip(target);
    Ok(())
}

/// SDM vol. 2B, RET; the immediate is 0 where there is none.
fn ret<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let offset = core.stack_offset(0);
    let target = core.load::<T>(seg::SS, offset)?.to_u64();
    check_target(core, target)?;
    core.set_stack_pointer(core.stack_offset(T::BYTES as i64 + i64::from(insn.imm as u16)));
    core.set_next_rip(target);
    Ok(())
}

/// SDM vol. 2A, LOOP/LOOPcc.
fn looping<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    count_down::<T>(core, insn, true)
}

fn looping_while_zero<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let zero = core.flags.zf();
    count_down::<T>(core, insn, zero)
}

fn looping_until_zero<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let zero = core.flags.zf();
    count_down::<T>(core, insn, !zero)
}

#[inline(always)]
fn count_down<T: Word>(core: &mut Core<'_>, insn: &Insn, condition: bool) -> Exec {
    let left = wrap(insn.address_size, core.reg(gpr::RCX).wrapping_sub(1));
    if condition && left != 0 {
        jmp::<T>(core, insn)?;
    }
    core.set_reg_sized(gpr::RCX, insn.address_size, left);
    Ok(())
}

/// SDM vol. 2A, Jcc (JCXZ, JECXZ, JRCXZ).
fn jump_if_counted_down<T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    if wrap(insn.address_size, core.reg(gpr::RCX)) == 0 { jmp::<T>(core, insn) } else { Ok(()) }
}

#[inline(always)]
fn relative<T: Word>(core: &Core<'_>, insn: &Insn) -> u64 {
    T::from_u64(core.next_rip().wrapping_add(insn.imm)).to_u64()
}

#[inline(always)]
fn check_target(core: &mut Core<'_>, target: u64) -> Exec {
    let allowed = if core.mode == Mode::Long {
        (target as i64) << 16 >> 16 == target as i64
    } else {
        target <= core.segments[seg::CS].limit.into()
    };
    if allowed { Ok(()) } else { core.general_protection(0) }
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions};

    use super::*;

    #[test]
    fn counters_follow_the_address_size() {
        let size = |bits, bytes: &[u8]| {
            counter_size(&Decoder::with_ip(bits, bytes, 0, DecoderOptions::NONE).decode())
        };
        assert_eq!([size(16, &[0xe2, 0]), size(32, &[0xe1, 0]), size(64, &[0xe0, 0])], [2, 4, 8]);
        assert_eq!([size(16, &[0x67, 0xe3, 0]), size(32, &[0x67, 0xe3, 0])], [4, 2]);
        assert_eq!([size(64, &[0x67, 0xe3, 0]), size(64, &[0x90])], [4, 8]);
    }
}
