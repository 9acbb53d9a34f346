//! From an exact value to a result and its flags (SDM vol. 1, 4.8.4 and 4.9.1).

use super::env::flag;
use super::format::Format;
use super::{Env, Real, Rounding};

/// What the exponent of an x87 result is moved by when overflow or underflow is unmasked (SDM vol. 1, 8.5.4).
const UNMASKED_EXPONENT_SHIFT: i32 = 24576;

/// A significand cut at some bit.
pub(super) struct Cut {
    /// What remains, rounded.
    pub kept: u128,
    /// Whether anything was lost.
    pub inexact: bool,
    /// Whether the magnitude grew.
    pub up: bool,
}

/// Rounds to the whole precision of the format.
pub(super) fn round<F: Format>(env: &mut Env, value: Real) -> F {
    round_to_precision(env, value, F::PRECISION)
}

/// Rounds as arithmetic does: x87's to the precision that its control word says.
pub(super) fn round_arithmetic<F: Format>(env: &mut Env, value: Real) -> F {
    let precision = if F::IS_X87 { env.precision.bits() } else { F::PRECISION };
    round_to_precision(env, value, precision)
}

/// Rounds a value that is not zero to `precision` bits of significand in the exponent range of the format.
fn round_to_precision<F: Format>(env: &mut Env, value: Real, precision: u32) -> F {
    let value = value.normalized();
    let (exponent, cut) = cut_unbounded(value, precision, env.rounding);
    // Tininess is detected after rounding, as if the exponent were unbounded.
    if exponent < F::EXPONENT_MIN {
        return underflow(env, value, precision);
    }
    if exponent > F::EXPONENT_MAX {
        return overflow(env, value, precision);
    }
    note_inexact(env, &cut);
    finish(value.sign, exponent, cut.kept, precision)
}

/// Cuts the lowest `shift` bits off `significand`.
pub(super) fn cut(significand: u128, shift: u32, sign: bool, rounding: Rounding) -> Cut {
    const HALF: u128 = 1 << 127;
    // What is kept, and what is lost as a fraction of the lowest kept bit in units of 2^-128.
    let (kept, lost) = match shift {
        0 => (significand, 0),
        1..128 => (significand >> shift, significand << (128 - shift)),
        128 => (0, significand),
        _ => (0, u128::from(significand != 0)),
    };
    let up = match rounding {
        Rounding::Nearest => lost > HALF || lost == HALF && kept & 1 != 0,
        Rounding::Down => sign && lost != 0,
        Rounding::Up => !sign && lost != 0,
        Rounding::Zero => false,
    };
    Cut { kept: kept + u128::from(up), inexact: lost != 0, up }
}

/// Rounds as if any exponent could be represented. The significand that is kept has `precision` bits.
fn cut_unbounded(value: Real, precision: u32, rounding: Rounding) -> (i32, Cut) {
    let mut cut = cut(value.significand, 128 - precision, value.sign, rounding);
    if cut.kept >> precision == 0 {
        return (value.exponent, cut);
    }
    cut.kept >>= 1;
    (value.exponent + 1, cut)
}

fn note_inexact(env: &mut Env, cut: &Cut) {
    env.rounded_up = cut.up;
    if cut.inexact {
        env.raise(flag::PRECISION);
    }
}

fn finish<F: Format>(sign: bool, exponent: i32, kept: u128, precision: u32) -> F {
    let biased = (exponent - F::EXPONENT_MIN + 1) as u32;
    F::assemble(sign, biased, (kept as u64) << (F::PRECISION - precision))
}

fn underflow<F: Format>(env: &mut Env, value: Real, precision: u32) -> F {
    if env.is_unmasked(flag::UNDERFLOW) {
        env.raise(flag::UNDERFLOW);
        return unmasked_underflow(env, value, precision);
    }
    if env.ftz && F::HAS_DENORMAL_MODES {
        env.raise(flag::UNDERFLOW | flag::PRECISION);
        return F::zero(value.sign);
    }
    let below = F::EXPONENT_MIN.saturating_sub(value.exponent).unsigned_abs();
    let cut = cut(value.significand, (128 - precision).saturating_add(below), value.sign, env.rounding);
    note_inexact(env, &cut);
    if cut.inexact {
        env.raise(flag::UNDERFLOW);
    }
    let biased = (cut.kept >> (precision - 1)) as u32;
    F::assemble(value.sign, biased, (cut.kept as u64) << (F::PRECISION - precision))
}

/// The result that x87 leaves in a register, its exponent wrapped around; zero if even that is too small, and for a
/// destination that is not written.
fn unmasked_underflow<F: Format>(env: &mut Env, value: Real, precision: u32) -> F {
    let wrapped = value.scaled(UNMASKED_EXPONENT_SHIFT);
    let (exponent, cut) = cut_unbounded(wrapped, precision, env.rounding);
    note_inexact(env, &cut);
    if F::IS_X87 && exponent >= F::EXPONENT_MIN {
        return finish(value.sign, exponent, cut.kept, precision);
    }
    if F::IS_X87 {
        env.raise(flag::PRECISION);
        env.rounded_up = false;
    }
    F::zero(value.sign)
}

fn overflow<F: Format>(env: &mut Env, value: Real, precision: u32) -> F {
    env.raise(flag::OVERFLOW);
    if env.is_unmasked(flag::OVERFLOW) {
        let (exponent, cut) = cut_unbounded(value.scaled(-UNMASKED_EXPONENT_SHIFT), precision, env.rounding);
        note_inexact(env, &cut);
        if F::IS_X87 && exponent <= F::EXPONENT_MAX {
            return finish(value.sign, exponent, cut.kept, precision);
        }
        if F::IS_X87 {
            env.raise(flag::PRECISION);
            env.rounded_up = true;
        }
        return F::infinity(value.sign);
    }
    env.raise(flag::PRECISION);
    let to_infinity = match env.rounding {
        Rounding::Nearest => true,
        Rounding::Down => value.sign,
        Rounding::Up => !value.sign,
        Rounding::Zero => false,
    };
    env.rounded_up = to_infinity;
    if to_infinity {
        return F::infinity(value.sign);
    }
    finish(value.sign, F::EXPONENT_MAX, (1 << precision) - 1, precision)
}
