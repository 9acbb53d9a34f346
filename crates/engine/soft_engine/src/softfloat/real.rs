//! A value on its way to a result: 128 bits of significand, far more exponent than any format has.

use super::format::Unpacked;

/// ± `significand` · 2^(`exponent` − 127). The lowest bit may stand for everything below it (a sticky bit): no format
/// keeps more than 64 bits, so it decides only between exact and inexact, and breaks ties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Real {
    /// Whether the value is negative.
    pub sign: bool,
    /// The exponent of bit 127.
    pub exponent: i32,
    /// The significand; zero for zero.
    pub significand: u128,
}

impl Real {
    /// Zero.
    pub(super) const ZERO: Self = Self { sign: false, exponent: 0, significand: 0 };
    /// One.
    pub(super) const ONE: Self = Self { sign: false, exponent: 0, significand: 1 << 127 };

    /// The value of a finite number.
    pub(super) fn of(number: Unpacked) -> Self {
        Self {
            sign: number.sign,
            exponent: number.exponent,
            significand: if number.is_zero() { 0 } else { u128::from(number.significand) << 64 },
        }
    }

    /// An integer.
    pub(super) fn of_integer(sign: bool, magnitude: u128) -> Self {
        Self { sign, exponent: 127, significand: magnitude }.normalized()
    }

    pub(super) fn is_zero(self) -> bool {
        self.significand == 0
    }

    /// The same value with bit 127 set, unless it is zero.
    pub(super) fn normalized(self) -> Self {
        let shift = self.significand.leading_zeros() & 127;
        Self { significand: self.significand << shift, exponent: self.exponent - shift as i32, ..self }
    }

    /// The value marked as inexact: something below its lowest bit was left out.
    pub(super) fn inexact(self) -> Self {
        Self { significand: self.significand | 1, ..self }
    }

    pub(super) fn negated(self) -> Self {
        Self { sign: !self.sign, ..self }
    }

    pub(super) fn abs(self) -> Self {
        Self { sign: false, ..self }
    }

    /// The value times 2^`power`.
    pub(super) fn scaled(self, power: i32) -> Self {
        Self { exponent: self.exponent.saturating_add(power), ..self }
    }

    /// Whether the magnitude is below that of `other`; both are normalized.
    pub(super) fn is_below(self, other: Self) -> bool {
        if self.is_zero() || other.is_zero() {
            return self.is_zero() && !other.is_zero();
        }
        (self.exponent, self.significand) < (other.exponent, other.significand)
    }

    /// The sum of two normalized values. Zero, with no meaningful sign, if they cancel exactly.
    pub(super) fn plus(self, other: Self) -> Self {
        let (large, small) = if self.is_below(other) { (other, self) } else { (self, other) };
        if small.is_zero() {
            return large;
        }
        let distance = large.exponent.saturating_sub(small.exponent).unsigned_abs();
        // One bit of room for the carry.
        let high = shift_right_sticky(large.significand, 1);
        let low = shift_right_sticky(small.significand, distance.saturating_add(1));
        let significand = if large.sign == small.sign { high + low } else { high - low };
        if significand == 0 {
            return Self::ZERO;
        }
        Self { sign: large.sign, exponent: large.exponent + 1, significand }.normalized()
    }

    pub(super) fn minus(self, other: Self) -> Self {
        self.plus(other.negated())
    }

    /// The product of two normalized values.
    pub(super) fn times(self, other: Self) -> Self {
        if self.is_zero() || other.is_zero() {
            return Self::ZERO;
        }
        let (high, low) = self.significand.widening_product(other.significand);
        Self {
            sign: self.sign != other.sign,
            exponent: self.exponent.saturating_add(other.exponent).saturating_add(1),
            significand: high | u128::from(low != 0),
        }
        .normalized()
    }

    /// The quotient of two normalized values, the divisor not zero.
    pub(super) fn over(self, divisor: Self) -> Self {
        if self.is_zero() {
            return Self::ZERO;
        }
        // Long division: the remainder stays below the divisor, its shifted-out bit is kept apart.
        let mut remainder = self.significand >> 1;
        let mut half = self.significand & 1;
        let mut quotient = 0u128;
        for _ in 0..128 {
            let carry = remainder >> 127 != 0;
            remainder = remainder << 1 | half;
            half = 0;
            quotient <<= 1;
            if carry || remainder >= divisor.significand {
                remainder = remainder.wrapping_sub(divisor.significand);
                quotient |= 1;
            }
        }
        Self {
            sign: self.sign != divisor.sign,
            exponent: self.exponent - divisor.exponent,
            significand: quotient,
        }
        .normalized_quotient(remainder != 0)
    }

    /// The quotient by a small integer that is not zero.
    pub(super) fn over_integer(self, divisor: u64) -> Self {
        if self.is_zero() {
            return self;
        }
        let divisor = u128::from(divisor.max(1));
        let high = self.significand / divisor;
        let rest = (self.significand % divisor) << 64;
        // The next 64 bits of the quotient, of which as many are needed as the first is short of.
        let (low, remainder) = (rest / divisor, rest % divisor);
        let shift = high.leading_zeros().min(64);
        let quotient = Self { significand: high << shift, exponent: self.exponent - shift as i32, ..self };
        if shift == 0 {
            return if rest == 0 { quotient } else { quotient.inexact() };
        }
        let (next, lost) = (low >> (64 - shift), low.checked_shl(64 + shift).unwrap_or(0));
        let quotient = Self { significand: quotient.significand | next, ..quotient };
        if lost == 0 && remainder == 0 { quotient } else { quotient.inexact() }
    }

    fn normalized_quotient(self, sticky: bool) -> Self {
        let value = self.normalized();
        if sticky { value.inexact() } else { value }
    }
}

/// `value` >> `distance`, with the lowest bit set if any bit was lost.
pub(super) fn shift_right_sticky(value: u128, distance: u32) -> u128 {
    if distance >= 128 {
        return u128::from(value != 0);
    }
    let shifted = value >> distance;
    shifted | u128::from(shifted << distance != value)
}

/// The whole product of two 128-bit numbers.
trait WideningProduct: Sized {
    /// The high and the low half.
    fn widening_product(self, other: Self) -> (Self, Self);
}

impl WideningProduct for u128 {
    fn widening_product(self, other: Self) -> (Self, Self) {
        const LOW: u128 = u64::MAX as u128;
        let (a, b, c, d) = (self >> 64, self & LOW, other >> 64, other & LOW);
        let low = b * d;
        let middle = a * d + (low >> 64);
        let (middle, carry) = middle.overflowing_add(b * c);
        let high = a * c + (middle >> 64) + (u128::from(carry) << 64);
        (high, middle << 64 | low & LOW)
    }
}
