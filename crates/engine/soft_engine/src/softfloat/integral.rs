//! Rounding to an integer in the same format.

use super::env::flag;
use super::format::{Class, Format, Unpacked};
use super::nan::{answer_nans, note_denormals};
use super::rounding::{Cut, cut, round};
use super::{Env, Real, Rounding};

/// Rounds to an integer in the given direction, silently about inexactness if so asked (SDM vol. 2, ROUNDSS and
/// FRNDINT). Only x87's reports a denormal operand.
pub fn round_to_integral<F: Format>(env: &mut Env, a: F, rounding: Rounding, suppress_inexact: bool) -> F {
    let number = a.operand(env);
    env.rounded_up = false;
    if let Some(answer) = answer_nans(env, &[number]) {
        return answer;
    }
    if F::IS_X87 {
        note_denormals::<F>(env, &[number]);
    }
    if number.is_zero() {
        return F::zero(number.sign);
    }
    if number.class == Class::Infinity || number.exponent >= F::PRECISION as i32 - 1 {
        return a;
    }
    let integer = to_integer(number, rounding);
    if integer.kept == 0 {
        note_rounding(env, &integer, suppress_inexact);
        return F::zero(number.sign);
    }
    let result = round(env, Real::of_integer(number.sign, integer.kept));
    note_rounding(env, &integer, suppress_inexact);
    result
}

/// The magnitude of a finite number below 2^127, rounded to an integer.
pub(super) fn to_integer(number: Unpacked, rounding: Rounding) -> Cut {
    let shift = 127i32.saturating_sub(number.exponent).unsigned_abs();
    cut(u128::from(number.significand) << 64, shift, number.sign, rounding)
}

fn note_rounding(env: &mut Env, integer: &Cut, suppress_inexact: bool) {
    env.rounded_up = integer.up;
    if integer.inexact && !suppress_inexact {
        env.raise(flag::PRECISION);
    }
}
