//! Conversions between floating-point formats and integers (SDM vol. 2A, CVTDQ2PD and following).

use iced_x86::Mnemonic;

use super::access::{self, Register};
use super::float::{Element, environment, finish_packed, packed, settle};
use super::lanes::{Mm, Xmm, dwords, from_dwords, half, join_halves};
use crate::cpu::{Core, Exec};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;
use crate::softfloat::{self, Env, F32, F64, Rounding};

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    scalar_conversions(form).or_else(|| packed_conversions(form)).or_else(|| mmx_conversions(form))
}

fn scalar_conversions(form: &Form<'_>) -> Option<Handler> {
    // Of an integer source or destination the size may be 64 bits.
    let source_wide = form.insn.memory_size().size() == 8 || form.insn.op1_register().is_gpr64();
    let wide = form.insn.op0_register().is_gpr64();
    let handler: Handler = match form.mnemonic {
        Mnemonic::Cvtss2sd => |core, insn| convert_scalar::<F32, F64>(core, insn),
        Mnemonic::Cvtsd2ss => |core, insn| convert_scalar::<F64, F32>(core, insn),
        Mnemonic::Cvtsi2ss if source_wide => |core, insn| integer_to_scalar::<F32, u64>(core, insn),
        Mnemonic::Cvtsi2ss => |core, insn| integer_to_scalar::<F32, u32>(core, insn),
        Mnemonic::Cvtsi2sd if source_wide => |core, insn| integer_to_scalar::<F64, u64>(core, insn),
        Mnemonic::Cvtsi2sd => |core, insn| integer_to_scalar::<F64, u32>(core, insn),
        Mnemonic::Cvtss2si if wide => |core, insn| scalar_to_qword::<F32>(core, insn, None),
        Mnemonic::Cvtss2si => |core, insn| scalar_to_dword::<F32>(core, insn, None),
        Mnemonic::Cvtsd2si if wide => |core, insn| scalar_to_qword::<F64>(core, insn, None),
        Mnemonic::Cvtsd2si => |core, insn| scalar_to_dword::<F64>(core, insn, None),
        Mnemonic::Cvttss2si if wide => |core, insn| scalar_to_qword::<F32>(core, insn, TRUNCATE),
        Mnemonic::Cvttss2si => |core, insn| scalar_to_dword::<F32>(core, insn, TRUNCATE),
        Mnemonic::Cvttsd2si if wide => |core, insn| scalar_to_qword::<F64>(core, insn, TRUNCATE),
        Mnemonic::Cvttsd2si => |core, insn| scalar_to_dword::<F64>(core, insn, TRUNCATE),
        _ => return None,
    };
    Some(handler)
}

fn packed_conversions(form: &Form<'_>) -> Option<Handler> {
    let handler: Handler = match form.mnemonic {
        Mnemonic::Cvtdq2ps => |core, insn| {
            packed(core, insn, |env, _, b| from_dwords(dwords(b).map(|x| from_dword::<F32>(env, x).0)))
        },
        Mnemonic::Cvtps2dq => |core, insn| packed(core, insn, |env, _, b| singles_to_dwords(env, b, None)),
        Mnemonic::Cvttps2dq => {
            |core, insn| packed(core, insn, |env, _, b| singles_to_dwords(env, b, TRUNCATE))
        }
        Mnemonic::Cvtpd2dq => {
            |core, insn| packed(core, insn, |env, _, b| [doubles_to_dwords(env, b, None), 0])
        }
        Mnemonic::Cvttpd2dq => {
            |core, insn| packed(core, insn, |env, _, b| [doubles_to_dwords(env, b, TRUNCATE), 0])
        }
        Mnemonic::Cvtpd2ps => |core, insn| {
            packed(core, insn, |env, _, b| {
                let [low, high] = b.map(|x| softfloat::convert::<F64, F32>(env, F64(x)).0);
                [join_halves(low, high), 0]
            })
        },
        Mnemonic::Cvtps2pd => {
            |core, insn| widen(core, insn, |env, x| softfloat::convert::<F32, F64>(env, F32(x)).0)
        }
        Mnemonic::Cvtdq2pd => |core, insn| widen(core, insn, |env, x| from_dword::<F64>(env, x).0),
        _ => return None,
    };
    Some(handler)
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

fn convert_scalar<S: Element, D: Element>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_sse(core)?;
    let source = S::source(core, insn, 1)?;
    finish_packed(core, insn, source, |env, mut value, source| {
        let result = softfloat::convert::<S, D>(env, source);
        D::set(&mut value, 0, result);
        value
    })
}

fn integer_to_scalar<F: Element, T: crate::cpu::Word>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_sse(core)?;
    let source = core.read::<T>(insn, 1)?.to_i64();
    finish_packed(core, insn, source, |env, mut value, source| {
        let result = softfloat::from_i64::<F>(env, source);
        F::set(&mut value, 0, result);
        value
    })
}

#[inline(always)]
fn scalar_to_dword<F: Element>(core: &mut Core<'_>, insn: &Insn, rounding: Option<Rounding>) -> Exec {
    scalar_to_integer::<F>(core, insn, |env, x| to_dword(env, x, rounding).into())
}

#[inline(always)]
fn scalar_to_qword<F: Element>(core: &mut Core<'_>, insn: &Insn, rounding: Option<Rounding>) -> Exec {
    scalar_to_integer::<F>(core, insn, |env, x| {
        softfloat::to_i64(env, x, rounding.unwrap_or(env.rounding)) as u64
    })
}

/// `convert` gives the value for the whole general-purpose register.
#[inline(always)]
fn scalar_to_integer<F: Element>(
    core: &mut Core<'_>,
    insn: &Insn,
    convert: impl FnOnce(&mut Env, F) -> u64,
) -> Exec {
    access::check_sse(core)?;
    let source = F::source(core, insn, 1)?;
    let mut env = environment(core);
    let value = convert(&mut env, source);
    settle(core, &env)?;
    core.set_reg(insn.ops[0].register.into(), value);
    Ok(())
}

/// Two doubles of 64 bits of source.
#[inline(always)]
fn widen(core: &mut Core<'_>, insn: &Insn, convert: impl Fn(&mut Env, u32) -> u64) -> Exec {
    access::check_sse(core)?;
    let source = access::low_source(core, insn, 1)?;
    finish_packed(core, insn, source, |env, _, source| {
        [false, true].map(|which| convert(env, half(source, which)))
    })
}

/// From an MMX register or memory to an XMM register. Only the register makes the unit MMX's, also if an exception
/// follows.
#[inline(always)]
fn from_mmx(core: &mut Core<'_>, insn: &Insn, convert: impl Fn(&mut Env, Xmm, u64) -> Xmm) -> Exec {
    access::check_sse(core)?;
    let [source] = if insn.ops[1].is_memory() {
        Mm::load(core, insn)?
    } else {
        access::check_mmx(core)?;
        access::enter_mmx(core);
        Mm::get(core, insn.ops[1].register)
    };
    finish_packed(core, insn, source, convert)
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
    let source = Xmm::source(core, insn, 1)?;
    to_mmx(core, insn, |env| doubles_to_dwords(env, source, rounding))
}

/// The unit becomes MMX's also if an exception follows.
fn to_mmx(core: &mut Core<'_>, insn: &Insn, convert: impl FnOnce(&mut Env) -> u64) -> Exec {
    access::enter_mmx(core);
    let mut env = environment(core);
    let value = convert(&mut env);
    settle(core, &env)?;
    Mm::set(core, insn.ops[0].register, [value]);
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
