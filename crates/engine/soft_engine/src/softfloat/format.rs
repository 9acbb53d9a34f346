//! The formats: how a bit pattern comes apart and is put together (SDM vol. 1, 4.2.2 and 4.8.3).

use super::Env;
use super::fast::Fast;

/// What kind of number a bit pattern is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// ±0.
    Zero,
    /// A finite number with an exponent of its own.
    Normal,
    /// A finite number below the smallest normal one; x87's pseudo-denormals are among these.
    Denormal,
    /// ±∞.
    Infinity,
    /// A NaN that passes silently.
    QuietNan,
    /// A NaN that is an invalid operand.
    SignalingNan,
    /// x87's unnormals, pseudo-infinities and pseudo-NaNs (SDM vol. 1, 8.2.2).
    Unsupported,
}

/// A number taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// The kind.
    pub class: Class,
    /// Whether the sign bit is set.
    pub sign: bool,
    /// Of a finite number: its value is `significand` · 2^(`exponent` − 63).
    pub exponent: i32,
    /// Of a finite number: normalized, bit 63 set. Of a NaN: bit 63, the quiet bit in bit 62, the payload.
    pub significand: u64,
}

impl Unpacked {
    /// Whether this is a NaN of either kind.
    pub fn is_nan(self) -> bool {
        matches!(self.class, Class::QuietNan | Class::SignalingNan)
    }

    pub(super) fn is_zero(self) -> bool {
        self.class == Class::Zero
    }

    pub(super) fn is_infinite(self) -> bool {
        self.class == Class::Infinity
    }
}

/// A binary floating-point format.
pub trait Format: Fast {
    /// Bits of significand, the integer bit included.
    const PRECISION: u32;
    /// The exponent of the smallest normal number.
    const EXPONENT_MIN: i32;
    /// The exponent of the largest finite number.
    const EXPONENT_MAX: i32;
    /// Whether arithmetic on this is x87's: its rules for NaNs, unmasked results and precision control.
    const IS_X87: bool;
    /// Whether denormal operands of this format raise DE and are subject to DAZ, and tiny results to FTZ. Not so
    /// for half precision (SDM vol. 2, VCVTPH2PS and VCVTPS2PH).
    const HAS_DENORMAL_MODES: bool;

    /// Takes the number apart.
    fn unpack(self) -> Unpacked;

    /// Puts together sign, biased exponent and a right-aligned significand with its integer bit.
    fn assemble(sign: bool, biased_exponent: u32, significand: u64) -> Self;

    /// ±0.
    fn zero(sign: bool) -> Self {
        Self::assemble(sign, 0, 0)
    }

    /// ±∞.
    fn infinity(sign: bool) -> Self {
        Self::assemble(sign, Self::BIASED_EXPONENT_TOP, 1 << (Self::PRECISION - 1))
    }

    /// The QNaN floating-point indefinite (SDM vol. 1, 4.8.3.7).
    fn indefinite() -> Self {
        Self::assemble(true, Self::BIASED_EXPONENT_TOP, 3 << (Self::PRECISION - 2))
    }

    /// The exponent field of infinities and NaNs.
    const BIASED_EXPONENT_TOP: u32 = (Self::EXPONENT_MAX + 1 - Self::EXPONENT_MIN + 1) as u32;

    /// A quiet NaN with the sign and as much of the payload as there is room for.
    fn quiet(nan: Unpacked) -> Self {
        let significand = (nan.significand | 3 << 62) >> (64 - Self::PRECISION);
        Self::assemble(nan.sign, Self::BIASED_EXPONENT_TOP, significand)
    }

    /// Takes an operand apart, as zero if it is denormal and DAZ is in force.
    fn operand(self, env: &Env) -> Unpacked {
        let mut number = self.unpack();
        if env.daz && Self::HAS_DENORMAL_MODES && number.class == Class::Denormal {
            number.class = Class::Zero;
        }
        number
    }
}

/// Takes apart a format whose integer bit is not stored.
fn unpack_interchange(sign: bool, biased: u32, fraction: u64, precision: u32, exponent_min: i32) -> Unpacked {
    let top = (2 - 2 * exponent_min) as u32 + 1;
    let aligned = fraction << (64 - precision);
    let (class, exponent, significand) = match (biased, fraction) {
        (0, 0) => (Class::Zero, 0, 0),
        (0, _) => {
            let shift = aligned.leading_zeros();
            (Class::Denormal, exponent_min - shift as i32, aligned << shift)
        }
        (biased, _) if biased < top => (Class::Normal, exponent_min - 1 + biased as i32, aligned | 1 << 63),
        (_, 0) => (Class::Infinity, 0, 1 << 63),
        _ if aligned & 1 << 62 != 0 => (Class::QuietNan, 0, aligned | 1 << 63),
        _ => (Class::SignalingNan, 0, aligned | 1 << 63),
    };
    Unpacked { class, sign, exponent, significand }
}

macro_rules! interchange_format {
    ($name:ident, $bits:ty, $precision:literal, $exponent_min:literal, $modes:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct $name(
            /// The bits as in memory.
            pub $bits,
        );

        impl Format for $name {
            const PRECISION: u32 = $precision;
            const EXPONENT_MIN: i32 = $exponent_min;
            const EXPONENT_MAX: i32 = 1 - $exponent_min;
            const IS_X87: bool = false;
            const HAS_DENORMAL_MODES: bool = $modes;

            fn unpack(self) -> Unpacked {
                let sign = self.0 >> (<$bits>::BITS - 1) != 0;
                let biased = u64::from(self.0) >> ($precision - 1) & u64::from(Self::BIASED_EXPONENT_TOP);
                let fraction = u64::from(self.0) & ((1 << ($precision - 1)) - 1);
                unpack_interchange(sign, biased as u32, fraction, $precision, $exponent_min)
            }

            fn assemble(sign: bool, biased_exponent: u32, significand: u64) -> Self {
                let sign = <$bits>::from(sign) << (<$bits>::BITS - 1);
                let fraction = significand & ((1 << ($precision - 1)) - 1);
                Self(sign | (biased_exponent as $bits) << ($precision - 1) | fraction as $bits)
            }
        }
    };
}

interchange_format!(F16, u16, 11, -14, false, "Half precision: storage only.");
interchange_format!(F32, u32, 24, -126, true, "Single precision.");
interchange_format!(F64, u64, 53, -1022, true, "Double precision.");
