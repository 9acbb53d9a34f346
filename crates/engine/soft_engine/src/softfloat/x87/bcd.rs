//! Packed decimal integers: eighteen digits and a sign (SDM vol. 1, 4.7).

use crate::softfloat::env::flag;
use crate::softfloat::integral::to_integer;
use crate::softfloat::{Class, Env, F80, Format, from_i64};

const DIGIT_BYTES: usize = 9;
const LIMIT: u128 = 1_000_000_000_000_000_000;
/// The packed BCD indefinite (SDM vol. 1, 4.8.3.7 and table 4-4).
const INDEFINITE: [u8; 10] = [0, 0, 0, 0, 0, 0, 0, 0xc0, 0xff, 0xff];

/// The number that ten bytes of packed decimal digits stand for (SDM vol. 2, FBLD). A digit above nine, for which the
/// manual defines no result, counts by its value.
pub fn bcd_load(bytes: [u8; 10]) -> F80 {
    let digits = bytes[..DIGIT_BYTES].iter().rev().flat_map(|byte| [byte >> 4, byte & 15]);
    let magnitude = digits.fold(0i64, |value, digit| value.wrapping_mul(10).wrapping_add(i64::from(digit)));
    let mut env = Env::DEFAULT;
    let mut number: F80 = from_i64(&mut env, magnitude);
    number.sign_exponent |= u16::from(bytes[DIGIT_BYTES] >> 7) << 15;
    number
}

/// Rounds to an integer of eighteen digits, or the indefinite value and IE if it has more (SDM vol. 2, FBSTP).
pub fn bcd_store(env: &mut Env, a: F80) -> [u8; 10] {
    let number = a.unpack();
    env.rounded_up = false;
    let finite = matches!(number.class, Class::Zero | Class::Normal | Class::Denormal);
    if !finite || number.exponent >= 64 {
        env.raise(flag::INVALID);
        return INDEFINITE;
    }
    let mut magnitude = 0;
    if number.class != Class::Zero {
        let integer = to_integer(number, env.rounding);
        if integer.kept >= LIMIT {
            env.raise(flag::INVALID);
            return INDEFINITE;
        }
        env.rounded_up = integer.up;
        if integer.inexact {
            env.raise(flag::PRECISION);
        }
        magnitude = integer.kept as u64;
    }
    let mut bytes = [0; 10];
    for byte in &mut bytes[..DIGIT_BYTES] {
        *byte = (magnitude / 10 % 10 * 16 + magnitude % 10) as u8;
        magnitude /= 100;
    }
    bytes[DIGIT_BYTES] = u8::from(number.sign) << 7;
    bytes
}
