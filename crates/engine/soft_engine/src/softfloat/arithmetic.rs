//! Sum, difference, product, quotient and square root.

use super::env::flag;
use super::format::{Format, Unpacked};
use super::nan::{answer_nans, invalid, note_denormals};
use super::rounding::round_arithmetic;
use super::{Env, Real, Rounding};

/// a + b (SDM vol. 2, ADDSS and FADD).
pub fn add<F: Format>(env: &mut Env, a: F, b: F) -> F {
    a.fast_add(b, env).unwrap_or_else(|| sum(env, a, b, false))
}

/// a − b (SDM vol. 2, SUBSS and FSUB).
pub fn sub<F: Format>(env: &mut Env, a: F, b: F) -> F {
    a.fast_sub(b, env).unwrap_or_else(|| sum(env, a, b, true))
}

/// a · b (SDM vol. 2, MULSS and FMUL).
pub fn mul<F: Format>(env: &mut Env, a: F, b: F) -> F {
    a.fast_mul(b, env).unwrap_or_else(|| product(env, a, b))
}

/// a / b (SDM vol. 2, DIVSS and FDIV).
pub fn div<F: Format>(env: &mut Env, a: F, b: F) -> F {
    a.fast_div(b, env).unwrap_or_else(|| quotient(env, a, b))
}

/// √a (SDM vol. 2, SQRTSS and FSQRT).
pub fn sqrt<F: Format>(env: &mut Env, a: F) -> F {
    a.fast_sqrt(env).unwrap_or_else(|| square_root(env, a))
}

/// The sum of two values of which either may be zero.
pub(super) fn round_sum<F: Format>(env: &mut Env, a: Real, b: Real) -> F {
    let sum = a.plus(b);
    if !sum.is_zero() {
        return round_arithmetic(env, sum);
    }
    // Zeros of one sign keep it; what cancels is +0 except when rounding down (SDM vol. 1, 4.8.3.1).
    let sign =
        if a.is_zero() && b.is_zero() && a.sign == b.sign { a.sign } else { env.rounding == Rounding::Down };
    F::zero(sign)
}

fn sum<F: Format>(env: &mut Env, a: F, b: F, subtract: bool) -> F {
    let (a, mut b) = (a.operand(env), b.operand(env));
    env.rounded_up = false;
    if let Some(answer) = answer_nans(env, &[a, b]) {
        return answer;
    }
    b.sign ^= subtract;
    if a.is_infinite() && b.is_infinite() && a.sign != b.sign {
        return invalid(env);
    }
    note_denormals::<F>(env, &[a, b]);
    match (a.is_infinite(), b.is_infinite()) {
        (true, _) => F::infinity(a.sign),
        (_, true) => F::infinity(b.sign),
        _ => round_sum(env, Real::of(a), Real::of(b)),
    }
}

fn product<F: Format>(env: &mut Env, a: F, b: F) -> F {
    let (a, b) = (a.operand(env), b.operand(env));
    env.rounded_up = false;
    if let Some(answer) = answer_nans(env, &[a, b]) {
        return answer;
    }
    if a.is_infinite() && b.is_zero() || a.is_zero() && b.is_infinite() {
        return invalid(env);
    }
    note_denormals::<F>(env, &[a, b]);
    let sign = a.sign != b.sign;
    if a.is_infinite() || b.is_infinite() {
        return F::infinity(sign);
    }
    if a.is_zero() || b.is_zero() {
        return F::zero(sign);
    }
    round_arithmetic(env, exact_product(a, b))
}

/// The product of two finite numbers that are not zero.
pub(super) fn exact_product(a: Unpacked, b: Unpacked) -> Real {
    Real {
        sign: a.sign != b.sign,
        exponent: a.exponent + b.exponent + 1,
        significand: u128::from(a.significand) * u128::from(b.significand),
    }
    .normalized()
}

fn quotient<F: Format>(env: &mut Env, a: F, b: F) -> F {
    let (a, b) = (a.operand(env), b.operand(env));
    env.rounded_up = false;
    if let Some(answer) = answer_nans(env, &[a, b]) {
        return answer;
    }
    if a.is_infinite() && b.is_infinite() || a.is_zero() && b.is_zero() {
        return invalid(env);
    }
    let sign = a.sign != b.sign;
    if b.is_zero() && !a.is_infinite() {
        env.raise(flag::DIVIDE_BY_ZERO);
        return F::infinity(sign);
    }
    note_denormals::<F>(env, &[a, b]);
    if a.is_infinite() {
        return F::infinity(sign);
    }
    if a.is_zero() || b.is_infinite() {
        return F::zero(sign);
    }
    round_arithmetic(env, sticky_quotient(a, b))
}

/// The quotient of two finite numbers that are not zero: at least 95 bits and a sticky one.
fn sticky_quotient(a: Unpacked, b: Unpacked) -> Real {
    let divisor = u128::from(b.significand);
    let dividend = u128::from(a.significand) << 64;
    let (high, remainder) = (dividend / divisor, dividend % divisor);
    let rest = remainder << 32;
    let (low, remainder) = (rest / divisor, rest % divisor);
    Real {
        sign: a.sign != b.sign,
        exponent: a.exponent - b.exponent + 30,
        significand: (high << 32 | low) << 1 | u128::from(remainder != 0),
    }
}

fn square_root<F: Format>(env: &mut Env, a: F) -> F {
    let a = a.operand(env);
    env.rounded_up = false;
    if let Some(answer) = answer_nans(env, &[a]) {
        return answer;
    }
    if a.is_zero() {
        return F::zero(a.sign);
    }
    if a.sign {
        return invalid(env);
    }
    note_denormals::<F>(env, &[a]);
    if a.is_infinite() {
        return F::infinity(false);
    }
    round_arithmetic(env, sticky_root(a))
}

/// The square root of a finite number that is not zero: 65 bits and a sticky one.
fn sticky_root(a: Unpacked) -> Real {
    // The value is radicand · 2^(2 · half − 126), the root's integer part √radicand has 64 bits.
    let odd = a.exponent & 1;
    let radicand = u128::from(a.significand) << (63 + odd);
    let root = radicand.isqrt();
    let remainder = radicand - root * root;
    // (root + ½)² is root² + root + ¼: the next bit is set if the remainder is more than the root.
    let next = u128::from(remainder > root) << 63;
    Real {
        sign: false,
        exponent: (a.exponent - odd) / 2,
        significand: root << 64 | next | u128::from(remainder != 0),
    }
}
