//! Exponents: scaling by a power of two, and taking a number apart.

use crate::softfloat::env::flag;
use crate::softfloat::integral::to_integer;
use crate::softfloat::nan::{answer_nans, invalid, note_denormals};
use crate::softfloat::rounding::round;
use crate::softfloat::{Class, Env, F80, Format, Real, Rounding, Unpacked, from_i64};

/// More than any exponent that makes a difference, unmasked results included.
const POWER_LIMIT: i32 = 1 << 17;

/// a · 2^trunc(b) (SDM vol. 2, FSCALE).
pub fn scale(env: &mut Env, a: F80, b: F80) -> F80 {
    let (a, b) = (a.unpack(), b.unpack());
    env.rounded_up = false;
    if let Some(answer) = answer_nans(env, &[a, b]) {
        return answer;
    }
    let by_infinity = b.class == Class::Infinity;
    let shrinks_infinity = a.class == Class::Infinity && by_infinity && b.sign;
    let grows_zero = a.class == Class::Zero && by_infinity && !b.sign;
    if shrinks_infinity || grows_zero {
        return invalid(env);
    }
    note_denormals::<F80>(env, &[a, b]);
    match a.class {
        Class::Infinity => F80::infinity(a.sign),
        Class::Zero => F80::zero(a.sign),
        _ if by_infinity && b.sign => F80::zero(a.sign),
        _ if by_infinity => F80::infinity(a.sign),
        _ => round(env, Real::of(a).scaled(truncated_power(b))),
    }
}

fn truncated_power(b: Unpacked) -> i32 {
    if b.class == Class::Zero {
        return 0;
    }
    let magnitude = if b.exponent < 17 { to_integer(b, Rounding::Zero).kept as i32 } else { POWER_LIMIT };
    if b.sign { -magnitude } else { magnitude }
}

/// A number taken apart by [`extract`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extracted {
    /// The exponent as a number: what replaces ST(0).
    pub exponent: F80,
    /// The significand with the sign, its magnitude from 1 to 2: what is pushed after it.
    pub significand: F80,
}

/// Exponent and significand (SDM vol. 2, FXTRACT).
pub fn extract(env: &mut Env, a: F80) -> Extracted {
    let number = a.unpack();
    env.rounded_up = false;
    if let Some(answer) = answer_nans(env, &[number]) {
        return Extracted { exponent: answer, significand: answer };
    }
    match number.class {
        Class::Zero => {
            env.raise(flag::DIVIDE_BY_ZERO);
            Extracted { exponent: F80::infinity(true), significand: a }
        }
        Class::Infinity => Extracted { exponent: F80::infinity(false), significand: a },
        _ => {
            note_denormals::<F80>(env, &[number]);
            let exponent = i64::from(number.exponent);
            Extracted {
                exponent: from_i64(env, exponent),
                significand: F80::assemble(
                    number.sign,
                    u32::from(F80::ONE.sign_exponent),
                    number.significand,
                ),
            }
        }
    }
}
