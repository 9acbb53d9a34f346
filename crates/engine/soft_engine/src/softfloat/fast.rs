//! The host's own arithmetic, where it gives the same bits and flags.
//!
//! Rust's operators round to nearest, without flush to zero. They are used when the guest rounds to nearest too,
//! nothing is unmasked, all operands are normal and the result stays two binades away from the smallest normal
//! number and below infinity: then the only flag that can be raised is PE. Whether the result is exact is
//! found by integer products of the significands (·, /, √) or by Knuth's error-free sum (+, −), whose error term is
//! always representable; it is not looked for when PE is set already.

use super::env::flag;
use super::format::{F16, F32, F64};
use super::fused::Negate;
use super::{Env, Rounding};

/// Arithmetic that may decline to answer, changing nothing.
pub trait Fast: Copy {
    /// self + b.
    fn fast_add(self, _b: Self, _env: &mut Env) -> Option<Self> {
        None
    }
    /// self − b.
    fn fast_sub(self, _b: Self, _env: &mut Env) -> Option<Self> {
        None
    }
    /// self · b.
    fn fast_mul(self, _b: Self, _env: &mut Env) -> Option<Self> {
        None
    }
    /// self / b.
    fn fast_div(self, _b: Self, _env: &mut Env) -> Option<Self> {
        None
    }
    /// √self.
    fn fast_sqrt(self, _env: &mut Env) -> Option<Self> {
        None
    }
    /// ±(self · b) ± c.
    fn fast_fused(self, _b: Self, _c: Self, _negate: Negate, _env: &mut Env) -> Option<Self> {
        None
    }
}

impl Fast for F16 {}

fn applies(env: &Env) -> bool {
    env.rounding == Rounding::Nearest && env.unmasked == 0
}

fn is_sticky(env: &Env) -> bool {
    env.sticky & flag::PRECISION != 0
}

macro_rules! fast {
    ($name:ident, $host:ty, $bits:ty, $wide:ty, $precision:literal, $top:literal) => {
        impl $name {
            /// The host's number, if it is normal and its exponent is not among the two largest.
            fn host(self) -> Option<$host> {
                let biased = self.0 >> ($precision - 1) & $top;
                (1..$top - 2).contains(&biased).then(|| <$host>::from_bits(self.0))
            }

            /// The host's result, if it is finite and not among the smallest; `is_exact` is asked only if need be.
            fn accept(env: &mut Env, result: $host, is_exact: impl FnOnce() -> bool) -> Option<Self> {
                let biased = result.to_bits() >> ($precision - 1) & $top;
                if !(2..$top).contains(&biased) {
                    return None;
                }
                if !is_sticky(env) && !is_exact() {
                    env.raise(flag::PRECISION);
                }
                Some(Self(result.to_bits()))
            }

            fn sum(env: &mut Env, a: $host, b: $host) -> Option<Self> {
                let sum = a + b;
                Self::accept(env, sum, || {
                    let b_part = sum - a;
                    let a_part = sum - b_part;
                    (a - a_part) + (b - b_part) == 0.0
                })
            }

            /// The significand of a normal number, with its integer bit.
            fn significand(value: $host) -> $wide {
                <$wide>::from(value.to_bits() & ((1 << ($precision - 1)) - 1) | 1 << ($precision - 1))
            }
        }

        impl Fast for $name {
            #[inline]
            fn fast_add(self, b: Self, env: &mut Env) -> Option<Self> {
                if !applies(env) {
                    return None;
                }
                Self::sum(env, self.host()?, b.host()?)
            }

            #[inline]
            fn fast_sub(self, b: Self, env: &mut Env) -> Option<Self> {
                if !applies(env) {
                    return None;
                }
                Self::sum(env, self.host()?, -b.host()?)
            }

            #[inline]
            fn fast_mul(self, b: Self, env: &mut Env) -> Option<Self> {
                if !applies(env) {
                    return None;
                }
                let (a, b) = (self.host()?, b.host()?);
                Self::accept(env, a * b, || {
                    // The product has 2p − 1 or 2p bits; it is exact if all below its upper p are zero.
                    let product = Self::significand(a) * Self::significand(b);
                    let below = $precision - 1 + (product >> (2 * $precision - 1)) as u32;
                    product.trailing_zeros() >= below
                })
            }

            #[inline]
            fn fast_div(self, b: Self, env: &mut Env) -> Option<Self> {
                if !applies(env) {
                    return None;
                }
                let (a, b) = (self.host()?, b.host()?);
                let quotient = a / b;
                Self::accept(env, quotient, || {
                    let (dividend, divisor) = (Self::significand(a), Self::significand(b));
                    let shift = if dividend >= divisor { $precision - 1 } else { $precision };
                    Self::significand(quotient) * divisor == dividend << shift
                })
            }

            #[inline]
            fn fast_sqrt(self, env: &mut Env) -> Option<Self> {
                if !applies(env) {
                    return None;
                }
                let a = self.host()?;
                if a < 0.0 {
                    return None;
                }
                let root = a.sqrt();
                Self::accept(env, root, || {
                    // The bias is odd: the exponent is odd if its field is even.
                    let is_odd = self.0 >> ($precision - 1) & 1 == 0;
                    let significand = Self::significand(root);
                    significand * significand == Self::significand(a) << ($precision - 1 + u32::from(is_odd))
                })
            }

            #[inline]
            fn fast_fused(self, b: Self, c: Self, negate: Negate, env: &mut Env) -> Option<Self> {
                // Exactness has no cheap test here.
                if !applies(env) || !is_sticky(env) {
                    return None;
                }
                let a = if negate.product { -self.host()? } else { self.host()? };
                let c = if negate.addend { -c.host()? } else { c.host()? };
                Self::accept(env, a.mul_add(b.host()?, c), || true)
            }
        }
    };
}

fast!(F32, f32, u32, u64, 24, 0xff);
fast!(F64, f64, u64, u128, 53, 0x7ff);
