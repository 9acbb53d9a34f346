//! Elementary functions by their series, to some 120 bits.
//!
//! Each step errs by a few units of 2^-127, and every series is summed from its smallest term by Horner's rule, so
//! that what is lost stays below 2^-119 of the result.

use crate::softfloat::Real;

/// π.
pub(super) const PI: Real = constant(1, 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1);
/// log₂ e.
const LOG2_E: Real = constant(0, 0xb8aa_3b29_5c17_f0bb_be87_fed0_691d_3e89);
/// ln 2.
const LN_2: Real = constant(-1, 0xb172_17f7_d1cf_79ab_c9e3_b398_03f2_f6af);
/// √2.
const SQRT_2: Real = constant(0, 0xb504_f333_f9de_6484_597d_89b3_754a_be9f);
/// √3.
const SQRT_3: Real = constant(0, 0xddb3_d742_c265_539d_92ba_16b8_3c5c_1dc5);
/// tan(π/12).
const TAN_PI_12: Real = constant(-2, 0x8930_a2f4_f66a_b189_b517_a51f_0e8f_88ee);

const fn constant(exponent: i32, significand: u128) -> Real {
    Real { sign: false, exponent, significand }
}

/// sin r for |r| ≤ π/4: the 17th term is below 2^-130 of the sum.
pub(super) fn sine(r: Real) -> Real {
    let square = r.times(r);
    let sum = (1..=17)
        .rev()
        .fold(Real::ONE, |sum, k: u64| Real::ONE.minus(square.times(sum).over_integer(2 * k * (2 * k + 1))));
    r.times(sum)
}

/// cos r for |r| ≤ π/4.
pub(super) fn cosine(r: Real) -> Real {
    let square = r.times(r);
    (1..=18)
        .rev()
        .fold(Real::ONE, |sum, k: u64| Real::ONE.minus(square.times(sum).over_integer(2 * k * (2 * k - 1))))
}

/// 2^x − 1 for |x| ≤ 1.
pub(super) fn exponential_minus_one(x: Real) -> Real {
    let power = x.times(LN_2);
    let sum = (2..=36).rev().fold(Real::ONE, |sum, k: u64| Real::ONE.plus(power.times(sum).over_integer(k)));
    power.times(sum)
}

/// log₂ x for x > 0.
pub(super) fn logarithm(x: Real) -> Real {
    let mut mantissa = Real { exponent: 0, ..x };
    let mut exponent = x.exponent;
    if SQRT_2.is_below(mantissa) {
        mantissa.exponent = -1;
        exponent += 1;
    }
    let ratio = mantissa.minus(Real::ONE).over(mantissa.plus(Real::ONE));
    let whole = Real::of_integer(exponent < 0, u128::from(exponent.unsigned_abs()));
    whole.plus(twice_inverse_tanh(ratio).times(LOG2_E))
}

/// log₂(1 + x) for x > −1.
pub(super) fn logarithm_plus_one(x: Real) -> Real {
    // From −½ to ½ the sum with 1 is never made, so that nothing of a small x is lost.
    if x.exponent >= -1 {
        return logarithm(Real::ONE.plus(x));
    }
    let two = Real::ONE.scaled(1);
    twice_inverse_tanh(x.over(two.plus(x))).times(LOG2_E)
}

/// 2 artanh s for |s| ≤ 0.34.
fn twice_inverse_tanh(s: Real) -> Real {
    s.times(odd_reciprocals(s.times(s), 42)).scaled(1)
}

/// 1 + t/3 + t²/5 + … up to the power `last`.
fn odd_reciprocals(t: Real, last: u64) -> Real {
    (0..=last).rev().fold(Real::ZERO, |sum, k| Real::ONE.over_integer(2 * k + 1).plus(t.times(sum)))
}

/// The angle from 0 to π/2 whose tangent is z ≥ 0, given as numerator and denominator, not both zero.
pub(super) fn arctangent(numerator: Real, denominator: Real) -> Real {
    if denominator.is_below(numerator) {
        let half_pi = PI.scaled(-1);
        return half_pi.minus(arctangent_below_one(denominator.over(numerator)));
    }
    arctangent_below_one(numerator.over(denominator))
}

/// arctan z for 0 ≤ z ≤ 1.
fn arctangent_below_one(z: Real) -> Real {
    if z.is_below(TAN_PI_12) {
        return arctangent_series(z);
    }
    // arctan z = π/6 + arctan((z√3 − 1) / (z + √3)).
    let rest = z.times(SQRT_3).minus(Real::ONE).over(z.plus(SQRT_3));
    PI.over_integer(6).plus(arctangent_series(rest))
}

/// arctan z for |z| ≤ tan(π/12).
fn arctangent_series(z: Real) -> Real {
    z.times(odd_reciprocals(z.times(z).negated(), 36))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Angles and numbers from 2^-40 to 0.78.
    fn arguments() -> impl Iterator<Item = Real> {
        let significands = [1 << 127, 0xc7 << 120, 0x9e37_79b9_7f4a_7c15 << 64, (1 << 127) + (1 << 90)];
        [-40, -20, -8, -4, -3, -2, -1].into_iter().flat_map(move |exponent| {
            significands.map(|significand| Real { sign: false, exponent, significand })
        })
    }

    /// Whether two values agree to 117 bits, counted from `scale`.
    fn agree(a: Real, b: Real, scale: i32) -> bool {
        let difference = a.minus(b);
        difference.is_zero() || difference.exponent <= scale - 117
    }

    #[test]
    fn sine_and_cosine_lie_on_the_circle_at_their_angle() {
        for angle in arguments() {
            let (sine, cosine) = (sine(angle), cosine(angle));
            assert!(agree(sine.times(sine).plus(cosine.times(cosine)), Real::ONE, 0), "{angle:x?}");
            assert!(agree(arctangent(sine, cosine), angle, angle.exponent), "{angle:x?}");
        }
    }

    #[test]
    fn logarithms_invert_powers() {
        for x in arguments().flat_map(|x| [x, x.negated()]) {
            let power = exponential_minus_one(x);
            assert!(agree(logarithm_plus_one(power), x, x.exponent), "{x:x?}");
            assert!(agree(logarithm(Real::ONE.plus(power)), x, 0), "{x:x?}");
        }
    }
}
