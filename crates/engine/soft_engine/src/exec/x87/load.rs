//! Loads, constants and moves between registers (SDM vol. 2A, FLD, FILD, FBLD, FXCH, FCMOVcc, FLD1 and following).

use iced_x86::Mnemonic;

use super::number::{InMemory, load_ten};
use super::stack::{StackFault, begin, finish, status};
use crate::cpu::{Core, Exec};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;
use crate::softfloat::{self, Env, F32, F64, F80, Format, Rounding, flag};

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Fld => Some(match form.size {
            4 => load::<F32>,
            8 => load::<F64>,
            10 => load::<F80>,
            _ => load_register,
        }),
        Mnemonic::Fild => Some(match form.size {
            2 => load::<i16>,
            4 => load::<i32>,
            _ => load::<i64>,
        }),
        Mnemonic::Fbld => Some(load_decimal),
        Mnemonic::Fxch => Some(exchange),
        _ => conditional_move(form).or_else(|| constant(form)),
    }
}

/// The condition is one of the flags' (SDM vol. 2A, FCMOVcc).
fn conditional_move(form: &Form<'_>) -> Option<Handler> {
    let handler: Handler = match form.mnemonic {
        Mnemonic::Fcmovb => |core, insn| move_if(core, insn, 0x2),
        Mnemonic::Fcmovnb => |core, insn| move_if(core, insn, 0x3),
        Mnemonic::Fcmove => |core, insn| move_if(core, insn, 0x4),
        Mnemonic::Fcmovne => |core, insn| move_if(core, insn, 0x5),
        Mnemonic::Fcmovbe => |core, insn| move_if(core, insn, 0x6),
        Mnemonic::Fcmovnbe => |core, insn| move_if(core, insn, 0x7),
        Mnemonic::Fcmovu => |core, insn| move_if(core, insn, 0xa),
        Mnemonic::Fcmovnu => |core, insn| move_if(core, insn, 0xb),
        _ => return None,
    };
    Some(handler)
}

/// Exponents, significands cut off, and whether the nearest value is the next one (SDM vol. 2A, FLD1).
fn constant(form: &Form<'_>) -> Option<Handler> {
    let handler: Handler = match form.mnemonic {
        Mnemonic::Fldz => |core, insn| push(core, insn, F80::zero(false)),
        Mnemonic::Fld1 => |core, insn| push(core, insn, F80::ONE),
        Mnemonic::Fldl2t => |core, insn| push_rounded(core, insn, 0x4000, 0xd49a_784b_cd1b_8afe, false),
        Mnemonic::Fldl2e => |core, insn| push_rounded(core, insn, 0x3fff, 0xb8aa_3b29_5c17_f0bb, true),
        Mnemonic::Fldpi => |core, insn| push_rounded(core, insn, 0x4000, 0xc90f_daa2_2168_c234, true),
        Mnemonic::Fldlg2 => |core, insn| push_rounded(core, insn, 0x3ffd, 0x9a20_9a84_fbcf_f798, true),
        Mnemonic::Fldln2 => |core, insn| push_rounded(core, insn, 0x3ffe, 0xb172_17f7_d1cf_79ab, true),
        _ => return None,
    };
    Some(handler)
}

fn load<M: InMemory>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    begin(core)?;
    let number = M::load(core, insn)?;
    let fpu = &mut core.fpu;
    if !fpu.is_empty(7) {
        return overflow(core, insn);
    }
    let mut env = fpu.environment();
    let value = quieted::<M>(&mut env, number.value);
    if number.denormal {
        env.raised |= flag::DENORMAL;
    }
    // A denormal is loaded even if DE is unmasked.
    if fpu.report(&env) || env.raised & flag::INVALID == 0 {
        fpu.push(value);
    }
    finish(core, insn)
}

/// A conversion makes signaling NaNs quiet; ten bytes are not converted.
fn quieted<M: InMemory>(env: &mut Env, value: F80) -> F80 {
    let is_nan = value.unpack().is_nan();
    if M::CONVERTED && is_nan { softfloat::convert(env, value) } else { value }
}

fn load_register(core: &mut Core<'_>, insn: &Insn) -> Exec {
    begin(core)?;
    let fpu = &mut core.fpu;
    let Some(value) = fpu.st(insn.ops[0].register) else {
        if let Some(default) = fpu.stack_fault(StackFault::Underflow) {
            fpu.push(default);
        }
        return finish(core, insn);
    };
    push_checked(core, insn, value)
}

fn load_decimal(core: &mut Core<'_>, insn: &Insn) -> Exec {
    begin(core)?;
    let bytes = load_ten(core, insn)?;
    push_checked(core, insn, softfloat::bcd_load(bytes))
}

fn push(core: &mut Core<'_>, insn: &Insn, value: F80) -> Exec {
    begin(core)?;
    push_checked(core, insn, value)
}

fn push_rounded(
    core: &mut Core<'_>,
    insn: &Insn,
    exponent: u16,
    significand: u64,
    nearest_is_next: bool,
) -> Exec {
    let up = match core.fpu.environment().rounding {
        Rounding::Nearest => nearest_is_next,
        Rounding::Up => true,
        Rounding::Down | Rounding::Zero => false,
    };
    push(core, insn, F80 { sign_exponent: exponent, significand: significand + u64::from(up) })
}

fn push_checked(core: &mut Core<'_>, insn: &Insn, value: F80) -> Exec {
    if !core.fpu.is_empty(7) {
        return overflow(core, insn);
    }
    core.fpu.set_condition(status::C1, 0);
    core.fpu.push(value);
    finish(core, insn)
}

/// A push without room for it: the masked response overwrites what is there.
fn overflow(core: &mut Core<'_>, insn: &Insn) -> Exec {
    if let Some(value) = core.fpu.stack_fault(StackFault::Overflow) {
        core.fpu.push(value);
    }
    finish(core, insn)
}

/// SDM vol. 2A, FXCH: what is empty becomes the default NaN first.
fn exchange(core: &mut Core<'_>, insn: &Insn) -> Exec {
    begin(core)?;
    let fpu = &mut core.fpu;
    let other = insn.ops[1].register;
    fpu.set_condition(status::C1, 0);
    let values = match (fpu.st(0), fpu.st(other)) {
        (Some(top), Some(value)) => Some((top, value)),
        (top, value) => fpu
            .stack_fault(StackFault::Underflow)
            .map(|default| (top.unwrap_or(default), value.unwrap_or(default))),
    };
    if let Some((top, value)) = values {
        fpu.set_st(0, value);
        fpu.set_st(other, top);
    }
    finish(core, insn)
}

/// C1 is clear, with a stack fault or without.
#[inline(always)]
fn move_if(core: &mut Core<'_>, insn: &Insn, condition: u8) -> Exec {
    begin(core)?;
    let holds = core.flags.condition(condition);
    let fpu = &mut core.fpu;
    fpu.set_condition(status::C1, 0);
    match (fpu.st(0), fpu.st(insn.ops[1].register)) {
        (Some(_), Some(value)) => {
            if holds {
                fpu.set_st(0, value);
            }
        }
        _ => {
            if let Some(default) = fpu.stack_fault(StackFault::Underflow) {
                fpu.set_st(0, default);
            }
        }
    }
    finish(core, insn)
}
