//! x87's double extended format, with its explicit integer bit (SDM vol. 1, 4.2.2 and 8.2.2).

use super::fast::Fast;
use super::format::{Class, Format, Unpacked};

/// Double extended precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct F80 {
    /// The sign in bit 15, the biased exponent below.
    pub sign_exponent: u16,
    /// The significand, its integer bit in bit 63.
    pub significand: u64,
}

impl F80 {
    /// 1.0.
    pub const ONE: Self = Self { sign_exponent: 0x3fff, significand: 1 << 63 };

    /// A number from the ten bytes in memory.
    pub fn from_bytes(bytes: [u8; 10]) -> Self {
        let [significand @ .., low, high] = bytes;
        Self { sign_exponent: u16::from_le_bytes([low, high]), significand: u64::from_le_bytes(significand) }
    }

    /// The ten bytes in memory.
    pub fn to_bytes(self) -> [u8; 10] {
        let mut bytes = [0; 10];
        bytes[..8].copy_from_slice(&self.significand.to_le_bytes());
        bytes[8..].copy_from_slice(&self.sign_exponent.to_le_bytes());
        bytes
    }
}

impl Fast for F80 {}

impl Format for F80 {
    const PRECISION: u32 = 64;
    const EXPONENT_MIN: i32 = -16382;
    const EXPONENT_MAX: i32 = 16383;
    const IS_X87: bool = true;
    const HAS_DENORMAL_MODES: bool = true;

    fn unpack(self) -> Unpacked {
        let sign = self.sign_exponent & 0x8000 != 0;
        let biased = self.sign_exponent & 0x7fff;
        let shift = self.significand.leading_zeros();
        let (class, exponent) = match (biased, self.significand) {
            (0, 0) => (Class::Zero, 0),
            (0, _) => (Class::Denormal, Self::EXPONENT_MIN - shift as i32),
            (_, significand) if significand >> 63 == 0 => (Class::Unsupported, 0),
            (0x7fff, 0x8000_0000_0000_0000) => (Class::Infinity, 0),
            (0x7fff, significand) if significand & 1 << 62 != 0 => (Class::QuietNan, 0),
            (0x7fff, _) => (Class::SignalingNan, 0),
            _ => (Class::Normal, i32::from(biased) - 16383),
        };
        let significand = if class == Class::Denormal { self.significand << shift } else { self.significand };
        Unpacked { class, sign, exponent, significand }
    }

    fn assemble(sign: bool, biased_exponent: u32, significand: u64) -> Self {
        Self { sign_exponent: u16::from(sign) << 15 | biased_exponent as u16, significand }
    }
}
