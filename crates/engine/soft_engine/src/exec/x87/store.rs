//! Stores (SDM vol. 2A, FST, FIST, FISTTP, FBSTP).

use iced_x86::Mnemonic;

use super::number::store_ten;
use super::stack::{StackFault, begin, finish, status};
use crate::cpu::{Core, Exec, Word};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;
use crate::softfloat::{self, Env, F32, F64, F80, Rounding, flag};

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Fst => Some(match form.size {
            4 => |core, insn| store(core, insn, false, to_single),
            8 => |core, insn| store(core, insn, false, to_double),
            _ => |core, insn| store_register(core, insn, false),
        }),
        Mnemonic::Fstpnce => Some(store_register_if_any),
        Mnemonic::Fstp => Some(match form.size {
            4 => |core, insn| store(core, insn, true, to_single),
            8 => |core, insn| store(core, insn, true, to_double),
            10 => store_extended,
            _ => |core, insn| store_register(core, insn, true),
        }),
        Mnemonic::Fist => Some(match form.size {
            2 => |core, insn| store(core, insn, false, |env, x| to_word(env, x, env.rounding)),
            _ => |core, insn| store(core, insn, false, |env, x| to_dword(env, x, env.rounding)),
        }),
        Mnemonic::Fistp => Some(match form.size {
            2 => |core, insn| store(core, insn, true, |env, x| to_word(env, x, env.rounding)),
            4 => |core, insn| store(core, insn, true, |env, x| to_dword(env, x, env.rounding)),
            _ => |core, insn| store(core, insn, true, |env, x| to_qword(env, x, env.rounding)),
        }),
        Mnemonic::Fisttp => Some(match form.size {
            2 => |core, insn| store(core, insn, true, |env, x| to_word(env, x, Rounding::Zero)),
            4 => |core, insn| store(core, insn, true, |env, x| to_dword(env, x, Rounding::Zero)),
            _ => |core, insn| store(core, insn, true, |env, x| to_qword(env, x, Rounding::Zero)),
        }),
        Mnemonic::Fbstp => Some(store_decimal),
        _ => None,
    }
}

fn to_single(env: &mut Env, value: F80) -> u32 {
    softfloat::convert::<F80, F32>(env, value).0
}

fn to_double(env: &mut Env, value: F80) -> u64 {
    softfloat::convert::<F80, F64>(env, value).0
}

fn to_word(env: &mut Env, value: F80, rounding: Rounding) -> u16 {
    softfloat::to_i16(env, value, rounding) as u16
}

fn to_dword(env: &mut Env, value: F80, rounding: Rounding) -> u32 {
    softfloat::to_i32(env, value, rounding) as u32
}

fn to_qword(env: &mut Env, value: F80, rounding: Rounding) -> u64 {
    softfloat::to_i64(env, value, rounding) as u64
}

/// Stores ST(0) in a format of integer size `T`; an empty register counts as an invalid operand.
#[inline(always)]
fn store<T: Word>(
    core: &mut Core<'_>,
    insn: &Insn,
    pops: bool,
    convert: impl Fn(&mut Env, F80) -> T,
) -> Exec {
    let write = |core: &mut Core<'_>, value: T| core.write(insn, 0, value);
    convert_and_store(core, insn, pops, convert, write)
}

fn store_decimal(core: &mut Core<'_>, insn: &Insn) -> Exec {
    let write = |core: &mut Core<'_>, value: [u8; 10]| store_ten(core, insn, value);
    convert_and_store(core, insn, true, softfloat::bcd_store, write)
}

/// Nothing is stored or popped when an exception other than PE is unmasked, but the destination must be writable all
/// the same.
#[inline(always)]
fn convert_and_store<T>(
    core: &mut Core<'_>,
    insn: &Insn,
    pops: bool,
    convert: impl Fn(&mut Env, F80) -> T,
    write: impl Fn(&mut Core<'_>, T) -> Exec,
) -> Exec {
    begin(core)?;
    let mut env = core.fpu.environment();
    let operand = core.fpu.st(0);
    // The default NaN converts to each format's own default.
    let value = convert(&mut env, operand.unwrap_or(DEFAULT));
    if operand.is_none() {
        env.raised |= flag::INVALID;
    }
    let stores = env.reported() & env.unmasked & !flag::PRECISION == 0;
    if stores {
        write(core, value)?;
    } else {
        let offset = core.effective_address(insn);
        core.check_wide_alignment(insn.segment, offset, size_of::<T>().min(8) as u64)?;
        core.probe_write(insn.segment.into(), offset, size_of::<T>() as u32)?;
    }
    if operand.is_some() {
        core.fpu.report(&env);
    } else {
        core.fpu.stack_fault(StackFault::Underflow);
    }
    if stores && pops {
        core.fpu.pop();
    }
    finish(core, insn)
}

/// The floating-point indefinite.
const DEFAULT: F80 = F80 { sign_exponent: 0xffff, significand: 0xc000_0000_0000_0000 };

/// Without conversion there is nothing to raise but an empty register.
fn store_extended(core: &mut Core<'_>, insn: &Insn) -> Exec {
    convert_and_store(
        core,
        insn,
        true,
        |_, value| value.to_bytes(),
        |core, value| store_ten(core, insn, value),
    )
}

/// An alias of FSTP without the exception: from an empty register nothing is stored.
fn store_register_if_any(core: &mut Core<'_>, insn: &Insn) -> Exec {
    begin(core)?;
    let fpu = &mut core.fpu;
    fpu.set_condition(status::C1, 0);
    if let Some(value) = fpu.st(0) {
        fpu.set_st(insn.ops[0].register, value);
    }
    fpu.pop();
    finish(core, insn)
}

fn store_register(core: &mut Core<'_>, insn: &Insn, pops: bool) -> Exec {
    begin(core)?;
    let fpu = &mut core.fpu;
    fpu.set_condition(status::C1, 0);
    if let Some(value) = fpu.st(0).or_else(|| fpu.stack_fault(StackFault::Underflow)) {
        fpu.set_st(insn.ops[0].register, value);
        if pops {
            fpu.pop();
        }
    }
    finish(core, insn)
}
