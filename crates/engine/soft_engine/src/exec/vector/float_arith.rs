//! Floating-point arithmetic (SDM vol. 2A and 2B, ADDPS and following).

use iced_x86::Mnemonic;

use super::access::{self, Register};
use super::float::{Element, environment, from_elements, packed, scalar, settle};
use super::lanes::Xmm;
use crate::cpu::{Core, Exec};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;
use crate::softfloat::{self, Env, F32, F64, Rounding};

/// The handler for packed or scalar, single or double: `operation(env, destination, source)`.
macro_rules! arithmetic {
    (packed $format:ty, $operation:expr) => {
        Some(|core, insn| vertical::<$format>(core, insn, $operation))
    };
    (scalar $format:ty, $operation:expr) => {
        Some(|core, insn| scalar::<$format>(core, insn, $operation))
    };
}

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    vertical_operations(form)
        .or_else(|| roots(form))
        .or_else(|| horizontal_operations(form))
        .or_else(|| roundings(form))
}

fn vertical_operations(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Addps => arithmetic!(packed F32, softfloat::add),
        Mnemonic::Addpd => arithmetic!(packed F64, softfloat::add),
        Mnemonic::Addss => arithmetic!(scalar F32, softfloat::add),
        Mnemonic::Addsd => arithmetic!(scalar F64, softfloat::add),
        Mnemonic::Subps => arithmetic!(packed F32, softfloat::sub),
        Mnemonic::Subpd => arithmetic!(packed F64, softfloat::sub),
        Mnemonic::Subss => arithmetic!(scalar F32, softfloat::sub),
        Mnemonic::Subsd => arithmetic!(scalar F64, softfloat::sub),
        Mnemonic::Mulps => arithmetic!(packed F32, softfloat::mul),
        Mnemonic::Mulpd => arithmetic!(packed F64, softfloat::mul),
        Mnemonic::Mulss => arithmetic!(scalar F32, softfloat::mul),
        Mnemonic::Mulsd => arithmetic!(scalar F64, softfloat::mul),
        Mnemonic::Divps => arithmetic!(packed F32, softfloat::div),
        Mnemonic::Divpd => arithmetic!(packed F64, softfloat::div),
        Mnemonic::Divss => arithmetic!(scalar F32, softfloat::div),
        Mnemonic::Divsd => arithmetic!(scalar F64, softfloat::div),
        Mnemonic::Minps => arithmetic!(packed F32, softfloat::min),
        Mnemonic::Minpd => arithmetic!(packed F64, softfloat::min),
        Mnemonic::Minss => arithmetic!(scalar F32, softfloat::min),
        Mnemonic::Minsd => arithmetic!(scalar F64, softfloat::min),
        Mnemonic::Maxps => arithmetic!(packed F32, softfloat::max),
        Mnemonic::Maxpd => arithmetic!(packed F64, softfloat::max),
        Mnemonic::Maxss => arithmetic!(scalar F32, softfloat::max),
        Mnemonic::Maxsd => arithmetic!(scalar F64, softfloat::max),
        _ => None,
    }
}

fn roots(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Sqrtps => arithmetic!(packed F32, |env, _, b| softfloat::sqrt(env, b)),
        Mnemonic::Sqrtpd => arithmetic!(packed F64, |env, _, b| softfloat::sqrt(env, b)),
        Mnemonic::Sqrtss => arithmetic!(scalar F32, |env, _, b| softfloat::sqrt(env, b)),
        Mnemonic::Sqrtsd => arithmetic!(scalar F64, |env, _, b| softfloat::sqrt(env, b)),
        _ => None,
    }
}

fn horizontal_operations(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Addsubps => Some(|core, insn| packed(core, insn, alternate::<F32>)),
        Mnemonic::Addsubpd => Some(|core, insn| packed(core, insn, alternate::<F64>)),
        Mnemonic::Haddps => Some(|core, insn| horizontal::<F32>(core, insn, softfloat::add)),
        Mnemonic::Haddpd => Some(|core, insn| horizontal::<F64>(core, insn, softfloat::add)),
        Mnemonic::Hsubps => Some(|core, insn| horizontal::<F32>(core, insn, softfloat::sub)),
        Mnemonic::Hsubpd => Some(|core, insn| horizontal::<F64>(core, insn, softfloat::sub)),
        Mnemonic::Dpps => Some(dot_product::<F32>),
        Mnemonic::Dppd => Some(dot_product::<F64>),
        _ => None,
    }
}

fn roundings(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Roundps => {
            Some(|core, insn| vertical::<F32>(core, insn, |env, _, b| round(env, b, insn.imm as u8)))
        }
        Mnemonic::Roundpd => {
            Some(|core, insn| vertical::<F64>(core, insn, |env, _, b| round(env, b, insn.imm as u8)))
        }
        Mnemonic::Roundss => {
            Some(|core, insn| scalar::<F32>(core, insn, |env, _, b| round(env, b, insn.imm as u8)))
        }
        Mnemonic::Roundsd => {
            Some(|core, insn| scalar::<F64>(core, insn, |env, _, b| round(env, b, insn.imm as u8)))
        }
        _ => None,
    }
}

#[inline(always)]
fn vertical<F: Element>(core: &mut Core<'_>, insn: &Insn, operation: impl Fn(&mut Env, F, F) -> F) -> Exec {
    packed(core, insn, |env, a, b| {
        from_elements(|index| operation(env, F::get(&a, index), F::get(&b, index)))
    })
}

/// Differences in the even elements, sums in the odd ones (SDM vol. 2A, ADDSUBPS).
fn alternate<F: Element>(env: &mut Env, a: Xmm, b: Xmm) -> Xmm {
    from_elements(|index| {
        let (a, b) = (F::get(&a, index), F::get(&b, index));
        if index & 1 == 0 { softfloat::sub(env, a, b) } else { softfloat::add(env, a, b) }
    })
}

/// Of neighbours in the destination, then in the source (SDM vol. 2A, HADDPS).
#[inline(always)]
fn horizontal<F: Element>(core: &mut Core<'_>, insn: &Insn, operation: impl Fn(&mut Env, F, F) -> F) -> Exec {
    packed(core, insn, |env, a, b| {
        from_elements(|index| {
            let (from, pair) =
                if index < F::COUNT / 2 { (&a, 2 * index) } else { (&b, 2 * index - F::COUNT) };
            operation(env, F::get(from, pair), F::get(from, pair + 1))
        })
    })
}

/// The immediate chooses the imprecise way to round, its direction, and whether to tell (SDM vol. 2B, ROUNDPS).
fn round<F: Element>(env: &mut Env, value: F, imm: u8) -> F {
    let rounding = if imm & 4 != 0 { env.rounding } else { Rounding::from_field(imm.into()) };
    softfloat::round_to_integral(env, value, rounding, imm & 8 != 0)
}

/// SDM vol. 2A, DPPS: products chosen by the high half of the immediate are summed in pairs, the sum goes where the low
/// half says. Each step raises its exceptions before the next one.
fn dot_product<F: Element>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    access::check_sse(core)?;
    let imm = insn.imm as u8;
    let destination = insn.ops[0].register;
    let (a, b) = (Xmm::get(core, destination), Xmm::source(core, insn, 1)?);
    let mut env = environment(core);
    let mut terms = from_elements(|index| {
        let is_chosen = imm >> (4 + index) & 1 != 0;
        if is_chosen {
            softfloat::mul(&mut env, F::get(&a, index), F::get(&b, index))
        } else {
            F::zero(false)
        }
    });
    settle(core, &env)?;
    let mut count = F::COUNT;
    while count > 1 {
        count /= 2;
        let mut env = environment(core);
        for index in 0..count {
            let sum = softfloat::add(&mut env, F::get(&terms, 2 * index), F::get(&terms, 2 * index + 1));
            F::set(&mut terms, index, sum);
        }
        settle(core, &env)?;
    }
    let sum = F::get(&terms, 0);
    let value = from_elements(|index| if imm >> index & 1 != 0 { sum } else { F::zero(false) });
    Xmm::set(core, destination, value);
    Ok(())
}
