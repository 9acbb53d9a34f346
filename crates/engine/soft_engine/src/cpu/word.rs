//! Operand sizes: what the handlers of one instruction are generic over.

use std::ops::{BitAnd, BitOr, BitXor, Not};

/// An integer operand of 1, 2, 4 or 8 bytes.
pub trait Word:
    guest_memory::Word
    + Ord
    + BitAnd<Output = Self>
    + BitOr<Output = Self>
    + BitXor<Output = Self>
    + Not<Output = Self>
    + 'static
{
    /// Size in bits.
    const BITS: u32;
    /// Size in bytes.
    const BYTES: usize = Self::BITS as usize / 8;

    /// The low bits of `value`.
    fn from_u64(value: u64) -> Self;
    /// Zero-extended.
    fn to_u64(self) -> u64;
    /// Sign-extended.
    fn to_i64(self) -> i64;
    /// Sum, modulo 2 to the power of the size.
    fn add(self, other: Self) -> Self {
        Self::from_u64(self.to_u64().wrapping_add(other.to_u64()))
    }
    /// Difference, modulo 2 to the power of the size.
    fn sub(self, other: Self) -> Self {
        Self::from_u64(self.to_u64().wrapping_sub(other.to_u64()))
    }
    /// The highest bit.
    fn sign(self) -> bool {
        self.to_i64() < 0
    }
}

macro_rules! word {
    ($unsigned:ty, $signed:ty) => {
        impl Word for $unsigned {
            const BITS: u32 = <$unsigned>::BITS;

            #[inline(always)]
            fn from_u64(value: u64) -> Self {
                value as $unsigned
            }

            #[inline(always)]
            fn to_u64(self) -> u64 {
                self as u64
            }

            #[inline(always)]
            fn to_i64(self) -> i64 {
                self as $signed as i64
            }
        }
    };
}

word!(u8, i8);
word!(u16, i16);
word!(u32, i32);
word!(u64, i64);
