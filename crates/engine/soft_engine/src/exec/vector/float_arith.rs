//! Floating-point arithmetic (SDM vol. 2A and 2B, ADDPS and following).

use iced_x86::Mnemonic;

use super::access::{Encoding, narrow, wide};
use super::float::{Element, environment, from_elements, packed, packed_unary, scalar, settle};
use super::lanes::{Wide, Xmm};
use crate::cpu::{Core, Exec};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;
use crate::softfloat::{self, Env, F32, F64, Rounding};

/// The handler for packed or scalar, single or double: `operation(env, first source, second source)`.
macro_rules! arithmetic {
    ($form:expr, packed $format:ty, $operation:expr) => {
        wide!($form, E, |core, insn| vertical::<E, $format>(core, insn, $operation))
    };
    ($form:expr, scalar $format:ty, $operation:expr) => {
        narrow!($form, E, |core, insn| scalar::<E, $format>(core, insn, $operation))
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
        Mnemonic::Addps | Mnemonic::Vaddps => arithmetic!(form, packed F32, softfloat::add),
        Mnemonic::Addpd | Mnemonic::Vaddpd => arithmetic!(form, packed F64, softfloat::add),
        Mnemonic::Addss | Mnemonic::Vaddss => arithmetic!(form, scalar F32, softfloat::add),
        Mnemonic::Addsd | Mnemonic::Vaddsd => arithmetic!(form, scalar F64, softfloat::add),
        Mnemonic::Subps | Mnemonic::Vsubps => arithmetic!(form, packed F32, softfloat::sub),
        Mnemonic::Subpd | Mnemonic::Vsubpd => arithmetic!(form, packed F64, softfloat::sub),
        Mnemonic::Subss | Mnemonic::Vsubss => arithmetic!(form, scalar F32, softfloat::sub),
        Mnemonic::Subsd | Mnemonic::Vsubsd => arithmetic!(form, scalar F64, softfloat::sub),
        Mnemonic::Mulps | Mnemonic::Vmulps => arithmetic!(form, packed F32, softfloat::mul),
        Mnemonic::Mulpd | Mnemonic::Vmulpd => arithmetic!(form, packed F64, softfloat::mul),
        Mnemonic::Mulss | Mnemonic::Vmulss => arithmetic!(form, scalar F32, softfloat::mul),
        Mnemonic::Mulsd | Mnemonic::Vmulsd => arithmetic!(form, scalar F64, softfloat::mul),
        Mnemonic::Divps | Mnemonic::Vdivps => arithmetic!(form, packed F32, softfloat::div),
        Mnemonic::Divpd | Mnemonic::Vdivpd => arithmetic!(form, packed F64, softfloat::div),
        Mnemonic::Divss | Mnemonic::Vdivss => arithmetic!(form, scalar F32, softfloat::div),
        Mnemonic::Divsd | Mnemonic::Vdivsd => arithmetic!(form, scalar F64, softfloat::div),
        Mnemonic::Minps | Mnemonic::Vminps => arithmetic!(form, packed F32, softfloat::min),
        Mnemonic::Minpd | Mnemonic::Vminpd => arithmetic!(form, packed F64, softfloat::min),
        Mnemonic::Minss | Mnemonic::Vminss => arithmetic!(form, scalar F32, softfloat::min),
        Mnemonic::Minsd | Mnemonic::Vminsd => arithmetic!(form, scalar F64, softfloat::min),
        Mnemonic::Maxps | Mnemonic::Vmaxps => arithmetic!(form, packed F32, softfloat::max),
        Mnemonic::Maxpd | Mnemonic::Vmaxpd => arithmetic!(form, packed F64, softfloat::max),
        Mnemonic::Maxss | Mnemonic::Vmaxss => arithmetic!(form, scalar F32, softfloat::max),
        Mnemonic::Maxsd | Mnemonic::Vmaxsd => arithmetic!(form, scalar F64, softfloat::max),
        _ => None,
    }
}

fn roots(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Sqrtps | Mnemonic::Vsqrtps => {
            wide!(form, E, |core, insn| each::<E, F32>(core, insn, softfloat::sqrt))
        }
        Mnemonic::Sqrtpd | Mnemonic::Vsqrtpd => {
            wide!(form, E, |core, insn| each::<E, F64>(core, insn, softfloat::sqrt))
        }
        Mnemonic::Sqrtss | Mnemonic::Vsqrtss => {
            arithmetic!(form, scalar F32, |env, _, b| softfloat::sqrt(env, b))
        }
        Mnemonic::Sqrtsd | Mnemonic::Vsqrtsd => {
            arithmetic!(form, scalar F64, |env, _, b| softfloat::sqrt(env, b))
        }
        _ => None,
    }
}

fn horizontal_operations(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Addsubps | Mnemonic::Vaddsubps => {
            wide!(form, E, |core, insn| packed::<E>(core, insn, alternate::<F32>))
        }
        Mnemonic::Addsubpd | Mnemonic::Vaddsubpd => {
            wide!(form, E, |core, insn| packed::<E>(core, insn, alternate::<F64>))
        }
        Mnemonic::Haddps | Mnemonic::Vhaddps => {
            wide!(form, E, |core, insn| horizontal::<E, F32>(core, insn, softfloat::add))
        }
        Mnemonic::Haddpd | Mnemonic::Vhaddpd => {
            wide!(form, E, |core, insn| horizontal::<E, F64>(core, insn, softfloat::add))
        }
        Mnemonic::Hsubps | Mnemonic::Vhsubps => {
            wide!(form, E, |core, insn| horizontal::<E, F32>(core, insn, softfloat::sub))
        }
        Mnemonic::Hsubpd | Mnemonic::Vhsubpd => {
            wide!(form, E, |core, insn| horizontal::<E, F64>(core, insn, softfloat::sub))
        }
        Mnemonic::Dpps | Mnemonic::Vdpps => wide!(form, E, dot_product::<E, F32>),
        Mnemonic::Dppd | Mnemonic::Vdppd => wide!(form, E, dot_product::<E, F64>),
        _ => None,
    }
}

fn roundings(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Roundps | Mnemonic::Vroundps => {
            wide!(form, E, |core, insn| each::<E, F32>(core, insn, |env, x| round(env, x, insn.imm as u8)))
        }
        Mnemonic::Roundpd | Mnemonic::Vroundpd => {
            wide!(form, E, |core, insn| each::<E, F64>(core, insn, |env, x| round(env, x, insn.imm as u8)))
        }
        Mnemonic::Roundss | Mnemonic::Vroundss => {
            narrow!(form, E, |core, insn| {
                scalar::<E, F32>(core, insn, |env, _, b| round(env, b, insn.imm as u8))
            })
        }
        Mnemonic::Roundsd | Mnemonic::Vroundsd => {
            narrow!(form, E, |core, insn| {
                scalar::<E, F64>(core, insn, |env, _, b| round(env, b, insn.imm as u8))
            })
        }
        _ => None,
    }
}

#[inline(always)]
fn each<E: Encoding<V: Wide>, F: Element>(
    core: &mut Core<'_>,
    insn: &Insn,
    operation: impl Fn(&mut Env, F) -> F,
) -> Exec {
    packed_unary::<E>(core, insn, |env, x| from_elements(|index| operation(env, F::get(&x, index))))
}

#[inline(always)]
fn vertical<E: Encoding<V: Wide>, F: Element>(
    core: &mut Core<'_>,
    insn: &Insn,
    operation: impl Fn(&mut Env, F, F) -> F,
) -> Exec {
    packed::<E>(core, insn, |env, a, b| {
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
fn horizontal<E: Encoding<V: Wide>, F: Element>(
    core: &mut Core<'_>,
    insn: &Insn,
    operation: impl Fn(&mut Env, F, F) -> F,
) -> Exec {
    packed::<E>(core, insn, |env, a, b| {
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
fn dot_product<E: Encoding<V: Wide>, F: Element>(core: &mut Core<'_>, insn: &Insn) -> Exec {
    E::check(core)?;
    let imm = insn.imm as u8;
    let b = E::source(core, insn, E::SECOND)?;
    let a = E::get(core, insn.ops[E::FIRST].register);
    let product = |env: &mut Env, lane: usize, index: usize| {
        let is_chosen = imm >> (4 + index) & 1 != 0;
        let [a, b] = [a, b].map(|vector| F::get(&vector.lane(lane), index));
        if is_chosen { softfloat::mul(env, a, b) } else { F::zero(false) }
    };
    let mut env = environment(core);
    let mut terms = E::V::from_lanes(|lane| from_elements(|index| product(&mut env, lane, index)));
    settle(core, &env)?;
    let mut count = F::COUNT;
    while count > 1 {
        count /= 2;
        let mut env = environment(core);
        terms = E::V::from_lanes(|lane| {
            let mut terms = terms.lane(lane);
            for index in 0..count {
                let [a, b] = [0, 1].map(|neighbour| F::get(&terms, 2 * index + neighbour));
                F::set(&mut terms, index, softfloat::add(&mut env, a, b));
            }
            terms
        });
        settle(core, &env)?;
    }
    let value = E::V::from_lanes(|lane| {
        let sum = F::get(&terms.lane(lane), 0);
        from_elements(|index| if imm >> index & 1 != 0 { sum } else { F::zero(false) })
    });
    E::set(core, insn.ops[0].register, value);
    Ok(())
}
