//! Order, and SSE's minimum and maximum.

use super::Env;
use super::env::flag;
use super::format::{Class, Format, Unpacked};
use super::nan::note_denormals;

/// How two numbers compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// a < b.
    Less,
    /// a = b; zeros of either sign are equal.
    Equal,
    /// a > b.
    Greater,
    /// A NaN is among them.
    Unordered,
}

/// Compares. With `quiet`, only a signaling NaN is invalid (UCOMISS, FUCOM, the quiet predicates of CMPSS),
/// otherwise any NaN is (COMISS, FCOM).
pub fn compare<F: Format>(env: &mut Env, a: F, b: F, quiet: bool) -> Relation {
    let (a, b) = (a.operand(env), b.operand(env));
    env.rounded_up = false;
    let operands = [a, b];
    if operands.iter().any(is_no_number) {
        if !quiet || operands.iter().any(is_signaling) {
            env.raise(flag::INVALID);
        }
        return Relation::Unordered;
    }
    note_denormals::<F>(env, &operands);
    order(a, b)
}

/// The smaller one; b if they are unordered or both zero (SDM vol. 2, MINSS).
pub fn min<F: Format>(env: &mut Env, a: F, b: F) -> F {
    choose(env, a, b, Relation::Less)
}

/// The larger one; b if they are unordered or both zero (SDM vol. 2, MAXSS).
pub fn max<F: Format>(env: &mut Env, a: F, b: F) -> F {
    choose(env, a, b, Relation::Greater)
}

fn choose<F: Format>(env: &mut Env, a: F, b: F, wanted: Relation) -> F {
    let chosen = if compare(env, a, b, false) == wanted { a } else { b };
    let number = chosen.operand(env);
    if number.is_zero() { F::zero(number.sign) } else { chosen }
}

fn is_no_number(number: &Unpacked) -> bool {
    number.is_nan() || number.class == Class::Unsupported
}

fn is_signaling(number: &Unpacked) -> bool {
    matches!(number.class, Class::SignalingNan | Class::Unsupported)
}

fn order(a: Unpacked, b: Unpacked) -> Relation {
    let (a, b) = (key(a), key(b));
    match a.cmp(&b) {
        std::cmp::Ordering::Less => Relation::Less,
        std::cmp::Ordering::Equal => Relation::Equal,
        std::cmp::Ordering::Greater => Relation::Greater,
    }
}

/// A key that orders as the numbers do.
fn key(number: Unpacked) -> (i32, i128) {
    let rank = match number.class {
        Class::Zero => return (0, 0),
        Class::Infinity => i32::MAX,
        _ => number.exponent + (1 << 20),
    };
    let magnitude = i128::from(number.significand);
    if number.sign { (-rank, -magnitude) } else { (rank, magnitude) }
}
