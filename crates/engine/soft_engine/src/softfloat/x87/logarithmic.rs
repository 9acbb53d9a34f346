//! Powers and logarithms of two (SDM vol. 1, 8.3.9).

use super::series;
use crate::softfloat::env::flag;
use crate::softfloat::nan::{answer_nans, invalid, note_denormals};
use crate::softfloat::rounding::round;
use crate::softfloat::{Class, Env, F80, Format, Real, Unpacked};

/// 2^a − 1 (SDM vol. 2, F2XM1). Beyond ±1, where the manual defines no result, the operand itself.
pub fn exponential_minus_one(env: &mut Env, a: F80) -> F80 {
    let number = a.unpack();
    env.rounded_up = false;
    if let Some(answer) = answer_nans(env, &[number]) {
        return answer;
    }
    note_denormals::<F80>(env, &[number]);
    match number.class {
        Class::Zero => F80::zero(number.sign),
        Class::Infinity if number.sign => F80 { sign_exponent: 0xbfff, ..F80::ONE },
        Class::Infinity => F80::infinity(false),
        _ if number.exponent >= 0 => at_or_beyond_one(env, number),
        _ => round(env, series::exponential_minus_one(Real::of(number)).inexact()),
    }
}

fn at_or_beyond_one(env: &mut Env, number: Unpacked) -> F80 {
    let value = Real::of(number);
    let is_one = value.abs() == Real::ONE;
    let result = if is_one && number.sign { value.scaled(-1) } else { value };
    round_never_exact(env, result)
}

/// y · log₂ x (SDM vol. 2, FYL2X): x is ST(0), y is ST(1).
pub fn logarithm(env: &mut Env, x: F80, y: F80) -> F80 {
    let (x, y) = (x.unpack(), y.unpack());
    env.rounded_up = false;
    if let Some(answer) = answer_nans(env, &[x, y]) {
        return answer;
    }
    if x.sign && x.class != Class::Zero {
        return invalid(env);
    }
    let log = match x.class {
        Class::Zero => Log::Infinite(true),
        Class::Infinity => Log::Infinite(false),
        _ => finite_log(Real::of(x), series::logarithm),
    };
    if x.class == Class::Zero && matches!(y.class, Class::Normal | Class::Denormal) {
        env.raise(flag::DIVIDE_BY_ZERO);
        return F80::infinity(!y.sign);
    }
    multiply(env, log, x, y)
}

/// y · log₂(x + 1) (SDM vol. 2, FYL2XP1): x is ST(0), y is ST(1). For x ≤ −1, where the manual defines no result, x.
pub fn logarithm_plus_one(env: &mut Env, x: F80, y: F80) -> F80 {
    let (x, y) = (x.unpack(), y.unpack());
    env.rounded_up = false;
    if let Some(answer) = answer_nans(env, &[x, y]) {
        return answer;
    }
    let log = match x.class {
        Class::Zero => Log::Zero(x.sign),
        Class::Infinity if x.sign => return invalid(env),
        Class::Infinity => Log::Infinite(false),
        _ if x.sign && x.exponent >= 0 => Log::Undefined,
        _ => finite_log(Real::of(x), series::logarithm_plus_one),
    };
    multiply(env, log, x, y)
}

/// A logarithm: its sign is set if it is negative.
enum Log {
    Zero(bool),
    Infinite(bool),
    Finite(Real),
    /// Of a negative number: counts as negative.
    Undefined,
}

fn finite_log(x: Real, function: fn(Real) -> Real) -> Log {
    let log = function(x);
    if log.is_zero() { Log::Zero(false) } else { Log::Finite(log) }
}

fn multiply(env: &mut Env, log: Log, x: Unpacked, y: Unpacked) -> F80 {
    let negative = match &log {
        Log::Zero(sign) | Log::Infinite(sign) => *sign,
        Log::Finite(log) => log.sign,
        Log::Undefined => true,
    };
    let sign = y.sign != negative;
    match (&log, y.class) {
        (Log::Zero(_), Class::Infinity) | (Log::Infinite(_), Class::Zero) => return invalid(env),
        _ => note_denormals::<F80>(env, &[x, y]),
    }
    match (log, y.class) {
        (Log::Infinite(_), _) | (_, Class::Infinity) => F80::infinity(sign),
        (Log::Zero(_), _) | (_, Class::Zero) => F80::zero(sign),
        (Log::Finite(log), _) => round_never_exact(env, log.times(Real::of(y))),
        (Log::Undefined, _) => round_never_exact(env, Real::of(x)),
    }
}

/// Rounds. Even a result that happens to be exact counts as inexact, and if it is tiny as an underflow.
fn round_never_exact(env: &mut Env, value: Real) -> F80 {
    let result: F80 = round(env, value);
    let underflow = if result.unpack().class == Class::Denormal { flag::UNDERFLOW } else { 0 };
    env.raise(flag::PRECISION | underflow);
    result
}
