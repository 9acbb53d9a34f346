//! Fused multiplication and addition (SDM vol. 2C, VFMADD132PS and following).

use iced_x86::Mnemonic;

use super::access::{Encoding, Vex128, by_encoding};
use super::float::{Element, finish, from_elements};
use super::lanes::Wide;
use crate::cpu::{Core, Exec};
use crate::decode::insn::{Handler, Insn};
use crate::exec::Form;
use crate::softfloat::{F32, F64, Negate, fused_multiply_add};

const ADD: Negate = Negate { product: false, addend: false };
const SUBTRACT: Negate = Negate { product: false, addend: true };
const NEGATED_ADD: Negate = Negate { product: true, addend: false };
const NEGATED_SUBTRACT: Negate = Negate { product: true, addend: true };

/// Which operands are multiplied, and which is added.
#[derive(Clone, Copy)]
enum Order {
    /// First times third, plus second.
    By132,
    /// Second times first, plus third.
    By213,
    /// Second times third, plus first.
    By231,
}

impl Order {
    #[inline(always)]
    fn arrange<T>(self, [first, second, third]: [T; 3]) -> [T; 3] {
        match self {
            Order::By132 => [first, third, second],
            Order::By213 => [second, first, third],
            Order::By231 => [second, third, first],
        }
    }
}

/// A packed operation, by what its even and its odd elements negate.
macro_rules! packed {
    ($form:expr, $format:ty, $order:expr, $negate:expr) => {
        by_encoding!($form, [Vex128 Vex256], E, |core, insn| {
            packed::<E, $format>(core, insn, $order, $negate)
        })
    };
}

/// Of each order the mnemonics for packed singles and doubles, and scalar ones.
macro_rules! fused {
    ($form:expr, {$($negate:ident => [$($order:path: $ps:ident $pd:ident $ss:ident $sd:ident,)*],)*}) => {
        match $form.mnemonic {
            $($(
                Mnemonic::$ps => packed!($form, F32, $order, [$negate; 2]),
                Mnemonic::$pd => packed!($form, F64, $order, [$negate; 2]),
                Mnemonic::$ss => Some(|core, insn| scalar::<F32>(core, insn, $order, $negate)),
                Mnemonic::$sd => Some(|core, insn| scalar::<F64>(core, insn, $order, $negate)),
            )*)*
            _ => None,
        }
    };
}

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    let uniform: Option<Handler> = fused!(form, {
        ADD => [
            Order::By132: Vfmadd132ps Vfmadd132pd Vfmadd132ss Vfmadd132sd,
            Order::By213: Vfmadd213ps Vfmadd213pd Vfmadd213ss Vfmadd213sd,
            Order::By231: Vfmadd231ps Vfmadd231pd Vfmadd231ss Vfmadd231sd,
        ],
        SUBTRACT => [
            Order::By132: Vfmsub132ps Vfmsub132pd Vfmsub132ss Vfmsub132sd,
            Order::By213: Vfmsub213ps Vfmsub213pd Vfmsub213ss Vfmsub213sd,
            Order::By231: Vfmsub231ps Vfmsub231pd Vfmsub231ss Vfmsub231sd,
        ],
        NEGATED_ADD => [
            Order::By132: Vfnmadd132ps Vfnmadd132pd Vfnmadd132ss Vfnmadd132sd,
            Order::By213: Vfnmadd213ps Vfnmadd213pd Vfnmadd213ss Vfnmadd213sd,
            Order::By231: Vfnmadd231ps Vfnmadd231pd Vfnmadd231ss Vfnmadd231sd,
        ],
        NEGATED_SUBTRACT => [
            Order::By132: Vfnmsub132ps Vfnmsub132pd Vfnmsub132ss Vfnmsub132sd,
            Order::By213: Vfnmsub213ps Vfnmsub213pd Vfnmsub213ss Vfnmsub213sd,
            Order::By231: Vfnmsub231ps Vfnmsub231pd Vfnmsub231ss Vfnmsub231sd,
        ],
    });
    uniform.or_else(|| alternating(form))
}

fn alternating(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Vfmaddsub132ps => packed!(form, F32, Order::By132, [SUBTRACT, ADD]),
        Mnemonic::Vfmaddsub132pd => packed!(form, F64, Order::By132, [SUBTRACT, ADD]),
        Mnemonic::Vfmaddsub213ps => packed!(form, F32, Order::By213, [SUBTRACT, ADD]),
        Mnemonic::Vfmaddsub213pd => packed!(form, F64, Order::By213, [SUBTRACT, ADD]),
        Mnemonic::Vfmaddsub231ps => packed!(form, F32, Order::By231, [SUBTRACT, ADD]),
        Mnemonic::Vfmaddsub231pd => packed!(form, F64, Order::By231, [SUBTRACT, ADD]),
        Mnemonic::Vfmsubadd132ps => packed!(form, F32, Order::By132, [ADD, SUBTRACT]),
        Mnemonic::Vfmsubadd132pd => packed!(form, F64, Order::By132, [ADD, SUBTRACT]),
        Mnemonic::Vfmsubadd213ps => packed!(form, F32, Order::By213, [ADD, SUBTRACT]),
        Mnemonic::Vfmsubadd213pd => packed!(form, F64, Order::By213, [ADD, SUBTRACT]),
        Mnemonic::Vfmsubadd231ps => packed!(form, F32, Order::By231, [ADD, SUBTRACT]),
        Mnemonic::Vfmsubadd231pd => packed!(form, F64, Order::By231, [ADD, SUBTRACT]),
        _ => None,
    }
}

#[inline(always)]
fn packed<E: Encoding<V: Wide>, F: Element>(
    core: &mut Core<'_>,
    insn: &Insn,
    order: Order,
    negate: [Negate; 2],
) -> Exec {
    E::check(core)?;
    let third = E::source(core, insn, 2)?;
    let [first, second] = [0, 1].map(|index| E::get(core, insn.ops[index].register));
    let factors = order.arrange([first, second, third]);
    finish::<E>(core, insn, |env| {
        E::V::from_lanes(|lane| {
            let vectors = factors.map(|vector| vector.lane(lane));
            from_elements(|index| {
                let [a, b, c] = [0, 1, 2].map(|which: usize| F::get(&vectors[which], index));
                fused_multiply_add(env, a, b, c, negate[index & 1])
            })
        })
    })
}

/// The other elements of the destination stay.
#[inline(always)]
fn scalar<F: Element>(core: &mut Core<'_>, insn: &Insn, order: Order, negate: Negate) -> Exec {
    Vex128::check(core)?;
    let third = F::source(core, insn, 2)?;
    let mut value = Vex128::get(core, insn.ops[0].register);
    let second = F::get(&Vex128::get(core, insn.ops[1].register), 0);
    let [a, b, c] = order.arrange([F::get(&value, 0), second, third]);
    finish::<Vex128>(core, insn, |env| {
        let result = fused_multiply_add(env, a, b, c, negate);
        F::set(&mut value, 0, result);
        value
    })
}
