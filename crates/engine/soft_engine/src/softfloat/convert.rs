//! Conversions between the formats, and from and to integers.

use super::env::flag;
use super::format::{Class, Format};
use super::integral::to_integer;
use super::nan::{answer_nans, note_denormals};
use super::rounding::round;
use super::{Env, Real, Rounding};

/// The same number in another format (SDM vol. 2, CVTSS2SD, VCVTPS2PH, and FLD and FST of m32 and m64). Moving
/// eighty bits without conversion is no arithmetic and is not done by this.
pub fn convert<S: Format, D: Format>(env: &mut Env, a: S) -> D {
    let number = a.operand(env);
    env.rounded_up = false;
    if let Some(answer) = answer_nans(env, &[number]) {
        return answer;
    }
    // A store of x87 does not report a denormal operand, a load does.
    if !S::IS_X87 {
        note_denormals::<S>(env, &[number]);
    }
    match number.class {
        Class::Zero => D::zero(number.sign),
        Class::Infinity => D::infinity(number.sign),
        _ if S::IS_X87 => store(env, Real::of(number)),
        _ => round(env, Real::of(number)),
    }
}

/// A store of x87 that overflows or underflows unmasked does not happen, and is not inexact (SDM vol. 1, 8.5.4).
fn store<D: Format>(env: &mut Env, value: Real) -> D {
    let before = std::mem::take(&mut env.raised);
    let result = round(env, value);
    if env.raised & env.unmasked & (flag::OVERFLOW | flag::UNDERFLOW) != 0 {
        env.raised &= !flag::PRECISION;
        env.rounded_up = false;
    }
    env.raise(before);
    result
}

/// An integer as a number (SDM vol. 2, CVTSI2SS, CVTDQ2PS, FILD); narrower ones sign-extended.
pub fn from_i64<F: Format>(env: &mut Env, value: i64) -> F {
    env.rounded_up = false;
    if value == 0 {
        return F::zero(false);
    }
    round(env, Real::of_integer(value < 0, u128::from(value.unsigned_abs())))
}

/// An integer of 16 bits (SDM vol. 2, FIST and FISTTP), 8000H and IE if it does not fit.
pub fn to_i16<F: Format>(env: &mut Env, a: F, rounding: Rounding) -> i16 {
    to_signed(env, a, rounding, 16) as i16
}

/// An integer of 32 bits (SDM vol. 2, CVTSS2SI, CVTTSS2SI, FIST, FISTTP), 80000000H and IE if it does not fit.
pub fn to_i32<F: Format>(env: &mut Env, a: F, rounding: Rounding) -> i32 {
    to_signed(env, a, rounding, 32) as i32
}

/// An integer of 64 bits, the integer indefinite and IE if it does not fit.
pub fn to_i64<F: Format>(env: &mut Env, a: F, rounding: Rounding) -> i64 {
    to_signed(env, a, rounding, 64)
}

fn to_signed<F: Format>(env: &mut Env, a: F, rounding: Rounding, bits: u32) -> i64 {
    let number = a.operand(env);
    let indefinite = i64::MIN >> (64 - bits);
    env.rounded_up = false;
    let finite = matches!(number.class, Class::Zero | Class::Normal | Class::Denormal);
    if !finite || number.exponent >= 64 {
        env.raise(flag::INVALID);
        return indefinite;
    }
    if number.is_zero() {
        return 0;
    }
    let integer = to_integer(number, rounding);
    let limit = (1u128 << (bits - 1)) - u128::from(!number.sign);
    if integer.kept > limit {
        env.raise(flag::INVALID);
        return indefinite;
    }
    env.rounded_up = integer.up;
    if integer.inexact {
        env.raise(flag::PRECISION);
    }
    let magnitude = integer.kept as u64;
    if number.sign { magnitude.wrapping_neg() as i64 } else { magnitude as i64 }
}
