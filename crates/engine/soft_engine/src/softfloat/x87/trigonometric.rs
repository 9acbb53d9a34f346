//! Sine, cosine and tangent (SDM vol. 1, 8.3.8 and 8.3.10).

use super::series;
use crate::softfloat::nan::{answer_nans, invalid, note_denormals};
use crate::softfloat::rounding::round;
use crate::softfloat::{Class, Env, F80, Format, Real, Unpacked};

/// Arguments from 2^63 on are out of range: C2.
const RANGE_EXPONENT: i32 = 63;
/// π/2 in units of 2^-65: the 66 bits of π that x87 reduces arguments with.
const HALF_PI: u128 = 0x3_243f_6a88_85a3_08d3;
/// The exponent of that unit.
const UNIT: i32 = -65;

/// sin a, or nothing if a is out of range, which is C2 and leaves the operand alone (SDM vol. 2, FSIN).
pub fn sine(env: &mut Env, a: F80) -> Option<F80> {
    let angle = match prepare(env, a) {
        Prepared::Answer(answer) => return Some(answer),
        Prepared::OutOfRange => return None,
        Prepared::Zero(sign) => return Some(F80::zero(sign)),
        Prepared::Angle(angle) => angle,
    };
    Some(round(env, angle.sine().inexact()))
}

/// cos a (SDM vol. 2, FCOS); see [`sine`].
pub fn cosine(env: &mut Env, a: F80) -> Option<F80> {
    let angle = match prepare(env, a) {
        Prepared::Answer(answer) => return Some(answer),
        Prepared::OutOfRange => return None,
        Prepared::Zero(_) => return Some(F80::ONE),
        Prepared::Angle(angle) => angle,
    };
    Some(round(env, angle.cosine().inexact()))
}

/// sin a, which replaces the operand, and cos a, which is pushed (SDM vol. 2, FSINCOS); see [`sine`].
pub fn sine_cosine(env: &mut Env, a: F80) -> Option<(F80, F80)> {
    let angle = match prepare(env, a) {
        Prepared::Answer(answer) => return Some((answer, answer)),
        Prepared::OutOfRange => return None,
        Prepared::Zero(sign) => return Some((F80::zero(sign), F80::ONE)),
        Prepared::Angle(angle) => angle,
    };
    let sine = round(env, angle.sine().inexact());
    Some((sine, round(env, angle.cosine().inexact())))
}

/// tan a, which replaces the operand, and 1.0 or the NaN, which is pushed (SDM vol. 2, FPTAN); see [`sine`].
pub fn tangent(env: &mut Env, a: F80) -> Option<(F80, F80)> {
    let angle = match prepare(env, a) {
        Prepared::Answer(answer) => return Some((answer, answer)),
        Prepared::OutOfRange => return None,
        Prepared::Zero(sign) => return Some((F80::zero(sign), F80::ONE)),
        Prepared::Angle(angle) => angle,
    };
    Some((round(env, angle.sine().over(angle.cosine()).inexact()), F80::ONE))
}

enum Prepared {
    /// A NaN.
    Answer(F80),
    OutOfRange,
    /// ±0.
    Zero(bool),
    Angle(Angle),
}

fn prepare(env: &mut Env, a: F80) -> Prepared {
    let number = a.unpack();
    env.rounded_up = false;
    if let Some(answer) = answer_nans(env, &[number]) {
        return Prepared::Answer(answer);
    }
    match number.class {
        Class::Infinity => Prepared::Answer(invalid(env)),
        Class::Zero => Prepared::Zero(number.sign),
        _ if number.exponent >= RANGE_EXPONENT => Prepared::OutOfRange,
        _ => {
            note_denormals::<F80>(env, &[number]);
            Prepared::Angle(Angle::reduced(number))
        }
    }
}

/// An angle as a number of quarter turns and a rest of at most an eighth.
struct Angle {
    quarters: u8,
    rest: Real,
}

impl Angle {
    fn reduced(number: Unpacked) -> Self {
        if number.exponent < -1 {
            return Self { quarters: 0, rest: Real::of(number) };
        }
        // The magnitude is significand · 2^(shift) units, with a shift from 1 to 64.
        let mut shift = number.exponent - 63 - UNIT;
        let mut quarters = 0u128;
        let mut rest = u128::from(number.significand);
        while shift > 0 {
            let step = shift.min(60);
            rest <<= step;
            quarters = (quarters << step).wrapping_add(rest / HALF_PI);
            rest %= HALF_PI;
            shift -= step;
        }
        let mut sign = number.sign;
        if rest > HALF_PI / 2 {
            quarters = quarters.wrapping_add(1);
            rest = HALF_PI - rest;
            sign = !sign;
        }
        let quarters = if number.sign { quarters.wrapping_neg() } else { quarters };
        let rest = Real { sign, exponent: 127 + UNIT, significand: rest }.normalized();
        Self { quarters: (quarters & 3) as u8, rest }
    }

    fn sine(&self) -> Real {
        let value = if self.quarters & 1 == 0 { series::sine(self.rest) } else { series::cosine(self.rest) };
        if self.quarters & 2 == 0 { value } else { value.negated() }
    }

    fn cosine(&self) -> Real {
        let value = if self.quarters & 1 == 0 {
            series::cosine(self.rest)
        } else {
            series::sine(self.rest).negated()
        };
        if self.quarters & 2 == 0 { value } else { value.negated() }
    }
}
