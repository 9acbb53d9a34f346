//! Multiplication and addition with a single rounding.

use super::arithmetic::{exact_product, round_sum};
use super::format::{Class, Format};
use super::nan::{answer_nans, invalid, note_denormals};
use super::{Env, Real};

/// What of a fused operation changes its sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Negate {
    /// The product (VFNMADD, VFNMSUB).
    pub product: bool,
    /// The addend (VFMSUB, VFNMSUB).
    pub addend: bool,
}

/// ±(a · b) ± c, rounded once (SDM vol. 2, VFMADD132SS and its like).
///
/// Of several NaNs the first of a, b, c is taken: give the operands in the order of the form's multiplication,
/// 132: first, third, second; 213: second, first, third; 231: second, third, first.
pub fn fused_multiply_add<F: Format>(env: &mut Env, a: F, b: F, c: F, negate: Negate) -> F {
    a.fast_fused(b, c, negate, env).unwrap_or_else(|| fused(env, a, b, c, negate))
}

fn fused<F: Format>(env: &mut Env, a: F, b: F, c: F, negate: Negate) -> F {
    let (a, b, mut c) = (a.operand(env), b.operand(env), c.operand(env));
    env.rounded_up = false;
    if let Some(answer) = answer_nans(env, &[a, b, c]) {
        return answer;
    }
    let sign = a.sign != b.sign;
    let sign = sign != negate.product;
    c.sign ^= negate.addend;
    let infinite = a.is_infinite() || b.is_infinite();
    if infinite && (a.is_zero() || b.is_zero() || c.class == Class::Infinity && c.sign != sign) {
        return invalid(env);
    }
    note_denormals::<F>(env, &[a, b, c]);
    if infinite {
        return F::infinity(sign);
    }
    if c.is_infinite() {
        return F::infinity(c.sign);
    }
    let product = if a.is_zero() || b.is_zero() { Real::ZERO } else { exact_product(a, b) };
    round_sum(env, Real { sign, ..product }, Real::of(c))
}
