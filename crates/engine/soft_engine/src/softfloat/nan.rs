//! Operands that are no numbers (SDM vol. 1, 4.8.3.5, tables 4-7 and 8-10), and denormal ones.

use super::Env;
use super::env::flag;
use super::format::{Class, Format, Unpacked};

/// The result if an operand is a NaN or an encoding that x87 does not support, with IE where it is due.
///
/// SSE takes the first operand that is a NaN. x87 takes the quiet one of a quiet and a signaling NaN, otherwise the one
/// with the larger significand, otherwise the positive one.
pub(super) fn answer_nans<F: Format>(env: &mut Env, operands: &[Unpacked]) -> Option<F> {
    if operands.iter().any(|number| number.class == Class::Unsupported) {
        env.raise(flag::INVALID);
        return Some(F::indefinite());
    }
    let mut nans = operands.iter().filter(|number| number.is_nan()).copied();
    let first = nans.next()?;
    if operands.iter().any(|number| number.class == Class::SignalingNan) {
        env.raise(flag::INVALID);
    }
    let chosen = if F::IS_X87 { nans.fold(first, preferred_by_x87) } else { first };
    Some(F::quiet(chosen))
}

/// Raises IE and gives the indefinite value.
pub(super) fn invalid<F: Format>(env: &mut Env) -> F {
    env.raise(flag::INVALID);
    F::indefinite()
}

/// Raises DE if an operand is denormal.
pub(super) fn note_denormals<F: Format>(env: &mut Env, operands: &[Unpacked]) {
    if F::HAS_DENORMAL_MODES && operands.iter().any(|number| number.class == Class::Denormal) {
        env.raise(flag::DENORMAL);
    }
}

fn preferred_by_x87(a: Unpacked, b: Unpacked) -> Unpacked {
    let rank = |number: Unpacked| (number.class == Class::QuietNan, number.significand, !number.sign);
    if rank(b) > rank(a) { b } else { a }
}
