//! Integer arithmetic (SDM vol. 2B, PADDB and following).

use iced_x86::Mnemonic;

use super::access::{binary, binary_immediate, binary_xmm, by_encoding, unary, unary_xmm};
use super::lanes::{Vector, Xmm, bytes, from_words, join_words, words, words_of};
use crate::decode::insn::Handler;
use crate::exec::Form;

/// An operation on each lane.
macro_rules! vertical {
    ($form:expr, $lane:ty, $operation:expr) => {
        binary!($form, |a, b| a.zip_lanes::<$lane>(b, $operation))
    };
}

/// An operation on each 64 bits.
macro_rules! vertical_64 {
    ($form:expr, $operation:expr) => {
        binary!($form, |a, b| a.vertical(b, $operation))
    };
}

/// An operation on each lane of the source alone.
macro_rules! each {
    ($form:expr, $lane:ty, $operation:expr) => {
        by_encoding!($form, [Mmx Sse Vex128 Vex256], E, |core, insn| {
            unary::<E>(core, insn, |x| x.map_lanes::<$lane>($operation))
        })
    };
}

/// An operation on neighbouring lanes.
macro_rules! horizontal {
    ($form:expr, $operation:expr) => {
        binary!($form, |a, b| a.narrow(b, $operation))
    };
}

pub(super) fn handler(form: &Form<'_>) -> Option<Handler> {
    sums(form).or_else(|| products(form)).or_else(|| extremes(form)).or_else(|| horizontal_sums(form))
}

fn sums(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Paddb | Mnemonic::Vpaddb => vertical!(form, u8, u8::wrapping_add),
        Mnemonic::Paddw | Mnemonic::Vpaddw => vertical!(form, u16, u16::wrapping_add),
        Mnemonic::Paddd | Mnemonic::Vpaddd => vertical!(form, u32, u32::wrapping_add),
        Mnemonic::Paddq | Mnemonic::Vpaddq => vertical!(form, u64, u64::wrapping_add),
        Mnemonic::Paddsb | Mnemonic::Vpaddsb => vertical!(form, i8, i8::saturating_add),
        Mnemonic::Paddsw | Mnemonic::Vpaddsw => vertical!(form, i16, i16::saturating_add),
        Mnemonic::Paddusb | Mnemonic::Vpaddusb => vertical!(form, u8, u8::saturating_add),
        Mnemonic::Paddusw | Mnemonic::Vpaddusw => vertical!(form, u16, u16::saturating_add),
        Mnemonic::Psubb | Mnemonic::Vpsubb => vertical!(form, u8, u8::wrapping_sub),
        Mnemonic::Psubw | Mnemonic::Vpsubw => vertical!(form, u16, u16::wrapping_sub),
        Mnemonic::Psubd | Mnemonic::Vpsubd => vertical!(form, u32, u32::wrapping_sub),
        Mnemonic::Psubq | Mnemonic::Vpsubq => vertical!(form, u64, u64::wrapping_sub),
        Mnemonic::Psubsb | Mnemonic::Vpsubsb => vertical!(form, i8, i8::saturating_sub),
        Mnemonic::Psubsw | Mnemonic::Vpsubsw => vertical!(form, i16, i16::saturating_sub),
        Mnemonic::Psubusb | Mnemonic::Vpsubusb => vertical!(form, u8, u8::saturating_sub),
        Mnemonic::Psubusw | Mnemonic::Vpsubusw => vertical!(form, u16, u16::saturating_sub),
        Mnemonic::Pavgb | Mnemonic::Vpavgb => {
            vertical!(form, u8, |a, b| ((u16::from(a) + u16::from(b) + 1) >> 1) as u8)
        }
        Mnemonic::Pavgw | Mnemonic::Vpavgw => {
            vertical!(form, u16, |a, b| ((u32::from(a) + u32::from(b) + 1) >> 1) as u16)
        }
        Mnemonic::Psadbw | Mnemonic::Vpsadbw => vertical_64!(form, sum_of_differences),
        Mnemonic::Mpsadbw | Mnemonic::Vmpsadbw => binary_immediate!(form, 3, multiple_sums_of_differences),
        _ => None,
    }
}

fn products(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Pmullw | Mnemonic::Vpmullw => vertical!(form, u16, u16::wrapping_mul),
        Mnemonic::Pmulhw | Mnemonic::Vpmulhw => {
            vertical!(form, i16, |a, b| ((i32::from(a) * i32::from(b)) >> 16) as i16)
        }
        Mnemonic::Pmulhuw | Mnemonic::Vpmulhuw => {
            vertical!(form, u16, |a, b| ((u32::from(a) * u32::from(b)) >> 16) as u16)
        }
        Mnemonic::Pmulhrsw | Mnemonic::Vpmulhrsw => vertical!(form, i16, rounded_high_product),
        Mnemonic::Pmulld | Mnemonic::Vpmulld => vertical!(form, u32, u32::wrapping_mul),
        Mnemonic::Pmuludq | Mnemonic::Vpmuludq => {
            vertical_64!(form, |a, b| u64::from(a as u32) * u64::from(b as u32))
        }
        Mnemonic::Pmuldq | Mnemonic::Vpmuldq => {
            binary_xmm!(form, |a, b| a.vertical(b, |a, b| (i64::from(a as i32) * i64::from(b as i32)) as u64))
        }
        Mnemonic::Pmaddwd | Mnemonic::Vpmaddwd => vertical_64!(form, multiply_add_words),
        Mnemonic::Pmaddubsw | Mnemonic::Vpmaddubsw => vertical_64!(form, multiply_add_bytes),
        _ => None,
    }
}

fn extremes(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Pminub | Mnemonic::Vpminub => vertical!(form, u8, Ord::min),
        Mnemonic::Pmaxub | Mnemonic::Vpmaxub => vertical!(form, u8, Ord::max),
        Mnemonic::Pminsw | Mnemonic::Vpminsw => vertical!(form, i16, Ord::min),
        Mnemonic::Pmaxsw | Mnemonic::Vpmaxsw => vertical!(form, i16, Ord::max),
        Mnemonic::Pminsb | Mnemonic::Vpminsb => vertical!(form, i8, Ord::min),
        Mnemonic::Pmaxsb | Mnemonic::Vpmaxsb => vertical!(form, i8, Ord::max),
        Mnemonic::Pminuw | Mnemonic::Vpminuw => vertical!(form, u16, Ord::min),
        Mnemonic::Pmaxuw | Mnemonic::Vpmaxuw => vertical!(form, u16, Ord::max),
        Mnemonic::Pminsd | Mnemonic::Vpminsd => vertical!(form, i32, Ord::min),
        Mnemonic::Pmaxsd | Mnemonic::Vpmaxsd => vertical!(form, i32, Ord::max),
        Mnemonic::Pminud | Mnemonic::Vpminud => vertical!(form, u32, Ord::min),
        Mnemonic::Pmaxud | Mnemonic::Vpmaxud => vertical!(form, u32, Ord::max),
        Mnemonic::Phminposuw | Mnemonic::Vphminposuw => unary_xmm!(form, smallest_word),
        Mnemonic::Pabsb | Mnemonic::Vpabsb => each!(form, i8, i8::wrapping_abs),
        Mnemonic::Pabsw | Mnemonic::Vpabsw => each!(form, i16, i16::wrapping_abs),
        Mnemonic::Pabsd | Mnemonic::Vpabsd => each!(form, i32, i32::wrapping_abs),
        Mnemonic::Psignb | Mnemonic::Vpsignb => vertical!(form, i8, |a, b| a.wrapping_mul(b.signum())),
        Mnemonic::Psignw | Mnemonic::Vpsignw => vertical!(form, i16, |a, b| a.wrapping_mul(b.signum())),
        Mnemonic::Psignd | Mnemonic::Vpsignd => vertical!(form, i32, |a, b| a.wrapping_mul(b.signum())),
        _ => None,
    }
}

fn horizontal_sums(form: &Form<'_>) -> Option<Handler> {
    match form.mnemonic {
        Mnemonic::Phaddw | Mnemonic::Vphaddw => horizontal!(form, |x| combine_words(x, i16::wrapping_add)),
        Mnemonic::Phaddsw | Mnemonic::Vphaddsw => {
            horizontal!(form, |x| combine_words(x, i16::saturating_add))
        }
        Mnemonic::Phsubw | Mnemonic::Vphsubw => horizontal!(form, |x| combine_words(x, i16::wrapping_sub)),
        Mnemonic::Phsubsw | Mnemonic::Vphsubsw => {
            horizontal!(form, |x| combine_words(x, i16::saturating_sub))
        }
        Mnemonic::Phaddd | Mnemonic::Vphaddd => {
            horizontal!(form, |x| (x as u32).wrapping_add((x >> 32) as u32))
        }
        Mnemonic::Phsubd | Mnemonic::Vphsubd => {
            horizontal!(form, |x| (x as u32).wrapping_sub((x >> 32) as u32))
        }
        _ => None,
    }
}

/// SDM vol. 2B, PSADBW.
fn sum_of_differences(a: u64, b: u64) -> u64 {
    let pairs = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
    pairs.map(|(a, b)| u64::from(a.abs_diff(b))).sum()
}

/// Eight sums over four bytes each, at places that the immediate chooses (SDM vol. 2B, MPSADBW).
fn multiple_sums_of_differences(a: Xmm, b: Xmm, imm: u8) -> Xmm {
    let (a, b) = (bytes(a), bytes(b));
    let (first, second) = (usize::from(imm >> 2 & 1) * 4, usize::from(imm & 3) * 4);
    from_words(std::array::from_fn(|word| {
        (0..4).map(|byte| u16::from(a[first + word + byte].abs_diff(b[second + byte]))).sum()
    }))
}

/// SDM vol. 2B, PMULHRSW.
fn rounded_high_product(a: i16, b: i16) -> i16 {
    ((((i32::from(a) * i32::from(b)) >> 14) + 1) >> 1) as i16
}

/// SDM vol. 2B, PMADDWD: only two products of −32768 by itself overflow, and wrap around.
fn multiply_add_words(a: u64, b: u64) -> u64 {
    let (a, b) = (words_of(a), words_of(b));
    let product = |index: usize| i32::from(a[index] as i16) * i32::from(b[index] as i16);
    let sum = |index: usize| product(index).wrapping_add(product(index + 1)) as u32;
    super::lanes::join_halves(sum(0), sum(2))
}

/// Unsigned bytes of the first operand times signed ones of the second (SDM vol. 2B, PMADDUBSW).
fn multiply_add_bytes(a: u64, b: u64) -> u64 {
    let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
    let product = |index: usize| i32::from(a[index]) * i32::from(b[index] as i8);
    join_words(std::array::from_fn(|word| {
        let sum = product(2 * word) + product(2 * word + 1);
        sum.clamp(i16::MIN.into(), i16::MAX.into()) as u16
    }))
}

fn combine_words(x: u64, operation: impl Fn(i16, i16) -> i16) -> u32 {
    let [a, b, c, d] = words_of(x).map(|word| word as i16);
    u32::from(operation(a, b) as u16) | u32::from(operation(c, d) as u16) << 16
}

/// The smallest word and the index of its first occurrence (SDM vol. 2B, PHMINPOSUW).
fn smallest_word(value: Xmm) -> Xmm {
    let smallest = words(value).into_iter().zip(0u64..).min().unwrap_or((0, 0));
    [u64::from(smallest.0) | smallest.1 << 16, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_products_saturate_or_wrap() {
        assert_eq!(multiply_add_words(0x8000_8000_8000_8000, 0x8000_8000_8000_8000), 0x8000_0000_8000_0000);
        assert_eq!(multiply_add_bytes(u64::MAX, 0x7f7f_7f7f_8080_8080), 0x7fff_7fff_8000_8000);
        assert_eq!(rounded_high_product(i16::MIN, i16::MIN), i16::MIN);
    }

    #[test]
    fn differences_are_summed_at_the_chosen_places() {
        assert_eq!(sum_of_differences(u64::MAX, 0), 255 * 8);
        let a = from_bytes_counting();
        // Of bytes 4… of the first against bytes 8… of the second: |4 + i − 8| four times, at least.
        assert_eq!(words(multiple_sums_of_differences(a, a, 0b110)), [16, 12, 8, 4, 0, 4, 8, 12]);
    }

    #[test]
    fn the_first_of_equal_words_is_the_smallest() {
        assert_eq!(smallest_word(from_words([9, 7, 3, 8, 3, 5, 4, 6])), [3 | 2 << 16, 0]);
    }

    fn from_bytes_counting() -> Xmm {
        super::super::lanes::from_bytes(std::array::from_fn(|index| index as u8))
    }
}
