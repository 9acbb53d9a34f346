//! The partial remainder.

use crate::softfloat::nan::{answer_nans, invalid, note_denormals};
use crate::softfloat::rounding::round;
use crate::softfloat::{Class, Env, F80, Format, Real, Unpacked};

/// How the quotient is rounded to an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemainderKind {
    /// Toward zero (FPREM).
    Truncated,
    /// To the nearest, ties to even: the remainder of IEEE 754 (FPREM1).
    Nearest,
}

/// What [`remainder`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remainder {
    /// The remainder, partial if `incomplete`.
    pub value: F80,
    /// The quotient's low three bits: bit 2 for C0, bit 1 for C3, bit 0 for C1. Zero if `incomplete`.
    pub quotient: u8,
    /// Whether the exponent was only reduced: C2.
    pub incomplete: bool,
}

/// The remainder of a / b, or a step toward it (SDM vol. 2, FPREM and FPREM1).
///
/// Where the exponents are 64 or more apart, a step brings them closer by the N that the manual leaves to the
/// processor: 32 to 63, such that what is left is a multiple of 32.
pub fn remainder(env: &mut Env, kind: RemainderKind, a: F80, b: F80) -> Remainder {
    let (a, b) = (a.unpack(), b.unpack());
    env.rounded_up = false;
    if let Some(answer) = answer_nans(env, &[a, b]) {
        return complete(answer, 0);
    }
    if a.class == Class::Infinity || b.class == Class::Zero {
        return complete(invalid(env), 0);
    }
    note_denormals::<F80>(env, &[a, b]);
    if a.class == Class::Zero {
        return complete(F80::zero(a.sign), 0);
    }
    if b.class == Class::Infinity {
        return complete(round(env, Real::of(a)), 0);
    }
    let distance = a.exponent - b.exponent;
    if distance >= 64 { step(env, a, b) } else { finish(env, kind, a, b) }
}

fn complete(value: F80, quotient: u8) -> Remainder {
    Remainder { value, quotient, incomplete: false }
}

/// Takes a multiple of b · 2^(distance − reduction) off a.
fn step(env: &mut Env, a: Unpacked, b: Unpacked) -> Remainder {
    let distance = a.exponent - b.exponent;
    let reduction = distance & 31 | 32;
    let rest = (u128::from(a.significand) << reduction) % u128::from(b.significand);
    let value = assemble(env, a.sign, rest, b.exponent + distance - reduction);
    Remainder { value, quotient: 0, incomplete: true }
}

fn finish(env: &mut Env, kind: RemainderKind, a: Unpacked, b: Unpacked) -> Remainder {
    let distance = a.exponent - b.exponent;
    if distance < -1 {
        return complete(round(env, Real::of(a)), 0);
    }
    // Both in units of the lower exponent.
    let (dividend, divisor, exponent) = if distance < 0 {
        (u128::from(a.significand), u128::from(b.significand) << 1, a.exponent)
    } else {
        (u128::from(a.significand) << distance, u128::from(b.significand), b.exponent)
    };
    let (mut quotient, mut rest) = (dividend / divisor, dividend % divisor);
    let mut sign = a.sign;
    let twice = rest << 1;
    if kind == RemainderKind::Nearest && (twice > divisor || twice == divisor && quotient & 1 != 0) {
        quotient += 1;
        rest = divisor - rest;
        sign = !sign;
    }
    let value = if rest == 0 { F80::zero(a.sign) } else { assemble(env, sign, rest, exponent) };
    complete(value, (quotient & 7) as u8)
}

/// ± `magnitude` · 2^(`exponent` − 63).
fn assemble(env: &mut Env, sign: bool, magnitude: u128, exponent: i32) -> F80 {
    if magnitude == 0 {
        return F80::zero(sign);
    }
    round(env, Real { sign, exponent: exponent + 64, significand: magnitude }.normalized())
}
