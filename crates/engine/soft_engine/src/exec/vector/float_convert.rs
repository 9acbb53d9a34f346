//! Conversions between floating-point formats and integers (SDM vol. 2A, CVTDQ2PD and following).

use iced_x86::Mnemonic;

use super::access::{self, Encoding, Mmx, Sse, narrow, wide};
use super::float::{Element, environment, finish, finish_scalar, packed_unary, settle};
use super::lanes::{Wide, Xmm, dwords, from_dwords, half, join_halves};
use crate::cpu::{Core, Exec, Word};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;
use crate::softfloat::{self, Env, F32, F64, Rounding};

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    scalar_conversions(form).or_else(|| packed_conversions(form)).or_else(|| mmx_conversions(form))
}

/// A scalar into a general-purpose register of 64 bits, or of 32.
macro_rules! to_integer {
    ($form:expr, $is_wide:expr, $format:ty, $rounding:expr) => {
        if $is_wide {
            narrow!($form, E, |core, insn| scalar_to_qword::<E, $format>(core, insn, $rounding))
        } else {
            narrow!($form, E, |core, insn| scalar_to_dword::<E, $format>(core, insn, $rounding))
        }
    };
}

fn scalar_conversions(form: &Form<'_>) -> Option<Handler> {
    // Of an integer source or destination the size may be 64 bits.
    let insn = form.insn;
    let source_wide = insn.memory_size().size() == 8
        || insn.op1_register().is_gpr64()
        || insn.op_count() > 2 && insn.op2_register().is_gpr64();
    let wide = insn.op0_register().is_gpr64();
    match form.mnemonic {
        Mnemonic::Cvtss2sd | Mnemonic::Vcvtss2sd => narrow!(form, E, convert_scalar::<E, F32, F64>),
        Mnemonic::Cvtsd2ss | Mnemonic::Vcvtsd2ss => narrow!(form, E, convert_scalar::<E, F64, F32>),
        Mnemonic::Cvtsi2ss | Mnemonic::Vcvtsi2ss if source_wide => {
            narrow!(form, E, integer_to_scalar::<E, F32, u64>)
        }
        Mnemonic::Cvtsi2ss | Mnemonic::Vcvtsi2ss => narrow!(form, E, integer_to_scalar::<E, F32, u32>),
        Mnemonic::Cvtsi2sd | Mnemonic::Vcvtsi2sd if source_wide => {
            narrow!(form, E, integer_to_scalar::<E, F64, u64>)
        }
        Mnemonic::Cvtsi2sd | Mnemonic::Vcvtsi2sd => narrow!(form, E, integer_to_scalar::<E, F64, u32>),
        Mnemonic::Cvtss2si | Mnemonic::Vcvtss2si => to_integer!(form, wide, F32, None),
        Mnemonic::Cvtsd2si | Mnemonic::Vcvtsd2si => to_integer!(form, wide, F64, None),
        Mnemonic::Cvttss2si | Mnemonic::Vcvttss2si => to_integer!(form, wide, F32, TRUNCATE),
        Mnemonic::Cvttsd2si | Mnemonic::Vcvttsd2si => to_integer!(form, wide, F64, TRUNCATE),
        _ => None,
    }
}

fn packed_conversions(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Cvtdq2ps | Mnemonic::Vcvtdq2ps => wide!(form, E, |core, insn| {
            packed_unary::<E>(core, insn, |env, x| {
                from_dwords(dwords(x).map(|x| from_dword::<F32>(env, x).0))
            })
        }),
        Mnemonic::Cvtps2dq | Mnemonic::Vcvtps2dq => wide!(form, E, |core, insn| {
            packed_unary::<E>(core, insn, |env, x| singles_to_dwords(env, x, None))
        }),
        Mnemonic::Cvttps2dq | Mnemonic::Vcvttps2dq => wide!(form, E, |core, insn| {
            packed_unary::<E>(core, insn, |env, x| singles_to_dwords(env, x, TRUNCATE))
        }),
        Mnemonic::Cvtpd2dq | Mnemonic::Vcvtpd2dq => {
            wide!(form, E, |core, insn| { shrink::<E>(core, insn, |env, x| doubles_to_dwords(env, x, None)) })
        }
        Mnemonic::Cvttpd2dq | Mnemonic::Vcvttpd2dq => wide!(form, E, |core, insn| {
            shrink::<E>(core, insn, |env, x| doubles_to_dwords(env, x, TRUNCATE))
        }),
        Mnemonic::Cvtpd2ps | Mnemonic::Vcvtpd2ps => wide!(form, E, |core, insn| {
            shrink::<E>(core, insn, |env, x| {
                let [low, high] = x.map(|x| softfloat::convert::<F64, F32>(env, F64(x)).0);
                join_halves(low, high)
            })
        }),
        Mnemonic::Cvtps2pd | Mnemonic::Vcvtps2pd => wide!(form, E, |core, insn| {
            widen::<E>(core, insn, |env, x| softfloat::convert::<F32, F64>(env, F32(x)).0)
        }),
        Mnemonic::Cvtdq2pd | Mnemonic::Vcvtdq2pd => {
            wide!(form, E, |core, insn| { widen::<E>(core, insn, |env, x| from_dword::<F64>(env, x).0) })
        }
        _ => None,
    }
}

fn mmx_conversions(form: &Form<'_>) -> Option<Handler> {
    let handler: Handler = match form.mnemonic {
        Mnemonic::Cvtpi2ps => |core, insn| {
            from_mmx(core, insn, |env, value, x| {
                let [low, high] = [false, true].map(|which| from_dword::<F32>(env, half(x, which)).0);
                [join_halves(low, high), value[1]]
            })
        },
        Mnemonic::Cvtpi2pd => |core, insn| {
            from_mmx(core, insn, |env, _, x| {
                [false, true].map(|which| from_dword::<F64>(env, half(x, which)).0)
            })
        },
        Mnemonic::Cvtps2pi => |core, insn| singles_to_mmx(core, insn, None),
        Mnemonic::Cvttps2pi => |core, insn| singles_to_mmx(core, insn, TRUNCATE),
        Mnemonic::Cvtpd2pi => |core, insn| doubles_to_mmx(core, insn, None),
        Mnemonic::Cvttpd2pi => |core, insn| doubles_to_mmx(core, insn, TRUNCATE),
        _ => return None,
    };
    Some(handler)
}

/// The direction of truncating conversions; others take that of MXCSR.
const TRUNCATE: Option<Rounding> = Some(Rounding::Zero);

fn convert_scalar<E: Encoding<V = Xmm>, S: Element, D: Element>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    let source = S::source(core, insn, E::SECOND)?;
    finish_scalar::<E, D>(core, insn, |env, _| softfloat::convert::<S, D>(env, source))
}

fn integer_to_scalar<E: Encoding<V = Xmm>, F: Element, T: Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    let source = core.read::<T>(insn, E::SECOND)?.to_i64();
    finish_scalar::<E, F>(core, insn, |env, _| softfloat::from_i64::<F>(env, source))
}

#[inline(always)]
fn scalar_to_dword<E: Encoding<V = Xmm>, F: Element>(
    core: &mut Core<'_>,
    insn: &Insn,
    rounding: Option<Rounding>,
) -> Exec {
    scalar_to_integer::<E, F>(core, insn, |env, x| to_dword(env, x, rounding).into())
}

#[inline(always)]
fn scalar_to_qword<E: Encoding<V = Xmm>, F: Element>(
    core: &mut Core<'_>,
    insn: &Insn,
    rounding: Option<Rounding>,
) -> Exec {
    scalar_to_integer::<E, F>(core, insn, |env, x| {
        softfloat::to_i64(env, x, rounding.unwrap_or(env.rounding)) as u64
    })
}

/// `convert` gives the value for the whole general-purpose register.
#[inline(always)]
fn scalar_to_integer<E: Encoding<V = Xmm>, F: Element>(
    core: &mut Core<'_>,
    insn: &Insn,
    convert: impl FnOnce(&mut Env, F) -> u64,
) -> Exec {
    E::check(core)?;
    let source = F::source(core, insn, 1)?;
    let mut env = environment(core);
    let value = convert(&mut env, source);
    settle(core, &env)?;
    core.set_reg(insn.ops[0].register.into(), value);
    Ok(())
}

/// Two doubles of each 64 bits of source.
#[inline(always)]
fn widen<E: Encoding<V: Wide>>(
    core: &mut Core<'_>,
    insn: &Insn,
    convert: impl Fn(&mut Env, u32) -> u64,
) -> Exec {
    E::check(core)?;
    let source = if E::V::LANES == 1 {
        [access::low_source(core, insn, 1)?, 0]
    } else {
        access::unaligned_source(core, insn, 1)?
    };
    finish::<E>(core, insn, |env| {
        E::V::from_lanes(|index| [false, true].map(|which| convert(env, half(source[index], which))))
    })
}

/// 64 bits of each 128 bits of source, zero above them.
#[inline(always)]
fn shrink<E: Encoding<V: Wide>>(
    core: &mut Core<'_>,
    insn: &Insn,
    convert: impl Fn(&mut Env, Xmm) -> u64,
) -> Exec {
    E::check(core)?;
    let source = E::source(core, insn, 1)?;
    let mut env = environment(core);
    let mut value = [0; 2];
    for (index, piece) in value.iter_mut().enumerate().take(E::V::LANES) {
        *piece = convert(&mut env, source.lane(index));
    }
    settle(core, &env)?;
    access::set_xmm::<E>(core, insn.ops[0].register, value);
    Ok(())
}

/// From an MMX register or memory to an XMM register. Only the register makes the unit MMX's, also if an exception
/// follows.
#[inline(always)]
fn from_mmx(core: &mut Core<'_>, insn: &Insn, convert: impl Fn(&mut Env, Xmm, u64) -> Xmm) -> Exec {
    access::check_sse(core)?;
    let [source] = if insn.ops[1].is_memory() {
        Mmx::load(core, insn)?
    } else {
        access::check_mmx(core)?;
        access::enter_mmx(core);
        Mmx::get(core, insn.ops[1].register)
    };
    let value = Sse::get(core, insn.ops[0].register);
    finish::<Sse>(core, insn, |env| convert(env, value, source))
}

fn singles_to_mmx(core: &mut Core<'_>, insn: &Insn, rounding: Option<Rounding>) -> Exec {
    access::check_sse(core)?;
    access::check_mmx(core)?;
    let source = access::low_source(core, insn, 1)?;
    to_mmx(core, insn, |env| {
        let [low, high] = [false, true].map(|which| to_dword(env, F32(half(source, which)), rounding));
        join_halves(low, high)
    })
}

fn doubles_to_mmx(core: &mut Core<'_>, insn: &Insn, rounding: Option<Rounding>) -> Exec {
    access::check_sse(core)?;
    access::check_mmx(core)?;
    let source = Sse::source(core, insn, 1)?;
    to_mmx(core, insn, |env| doubles_to_dwords(env, source, rounding))
}

/// The unit becomes MMX's also if an exception follows.
fn to_mmx(core: &mut Core<'_>, insn: &Insn, convert: impl FnOnce(&mut Env) -> u64) -> Exec {
    access::enter_mmx(core);
    let mut env = environment(core);
    let value = convert(&mut env);
    settle(core, &env)?;
    Mmx::set(core, insn.ops[0].register, [value]);
    Ok(())
}

fn singles_to_dwords(env: &mut Env, source: Xmm, rounding: Option<Rounding>) -> Xmm {
    from_dwords(dwords(source).map(|x| to_dword(env, F32(x), rounding)))
}

fn doubles_to_dwords(env: &mut Env, source: Xmm, rounding: Option<Rounding>) -> u64 {
    let [low, high] = source.map(|x| to_dword(env, F64(x), rounding));
    join_halves(low, high)
}

fn to_dword<F: Element>(env: &mut Env, x: F, rounding: Option<Rounding>) -> u32 {
    softfloat::to_i32(env, x, rounding.unwrap_or(env.rounding)) as u32
}

fn from_dword<F: Element>(env: &mut Env, x: u32) -> F {
    softfloat::from_i64(env, (x as i32).into())
}
