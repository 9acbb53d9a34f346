//! Operand values: where each type is special, and near it.

use iced_x86::{Instruction, MemorySize};

use crate::layout::CODE;
use crate::random::Random;

/// What a value is to its instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// An integer of so many bytes.
    Integer(u8),
    /// Binary32.
    F32,
    /// Binary64.
    F64,
    /// Double-extended.
    F80,
    /// Packed decimal digits.
    Decimal,
}

impl Element {
    fn of(size: MemorySize) -> Element {
        match size.info().element_type() {
            MemorySize::Float32 => Element::F32,
            MemorySize::Float64 => Element::F64,
            MemorySize::Float80 => Element::F80,
            MemorySize::Bcd => Element::Decimal,
            other => Element::Integer(other.info().size().clamp(1, 8) as u8),
        }
    }
}

/// A source of values for one case. Some values come again within the case, so that operands are equal.
pub struct Values<'r> {
    random: &'r mut Random,
    element: Element,
    pool: [u64; 4],
    extended_pool: [[u8; 10]; 2],
}

impl<'r> Values<'r> {
    /// Values for `insn`.
    pub fn new(random: &'r mut Random, insn: &Instruction) -> Values<'r> {
        let natural = Element::of(insn.code().op_code().memory_size());
        let element = match random.below(100) {
            0..=84 => natural,
            85..=88 => Element::F32,
            89..=92 => Element::F64,
            _ => Element::Integer(1 << random.below(4)),
        };
        let mut values = Values { random, element, pool: [0; 4], extended_pool: [[0; 10]; 2] };
        values.pool = std::array::from_fn(|_| values.fresh(element));
        values.extended_pool = std::array::from_fn(|_| extended(values.random));
        values
    }

    /// The generator behind the values.
    pub fn random(&mut self) -> &mut Random {
        self.random
    }

    /// 64 bits for a general-purpose register.
    pub fn integer(&mut self) -> u64 {
        match self.random.below(10) {
            0..=1 => self.random.pick(&self.pool),
            2..=3 => integer(self.random, 8),
            4..=5 => integer(self.random, 4),
            6 => integer(self.random, 2),
            7 => integer(self.random, 1),
            8 => integer(self.random, 4) as u32 as i32 as i64 as u64,
            _ => self.random.word(),
        }
    }

    /// 64 bits of the instruction's own type: two of 32, and so on.
    pub fn word(&mut self) -> u64 {
        if self.random.chance(35) { self.random.pick(&self.pool) } else { self.fresh(self.element) }
    }

    /// Bytes of the instruction's own type.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        if self.element == Element::F80 || self.element == Element::Decimal {
            for chunk in bytes.chunks_mut(10) {
                let value = if self.element == Element::F80 { self.extended() } else { decimal(self.random) };
                chunk.copy_from_slice(&value[..chunk.len()]);
            }
            return bytes;
        }
        for chunk in bytes.chunks_mut(8) {
            let word = self.word().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        bytes
    }

    /// A double-extended value, or what looks like one and is none.
    pub fn extended(&mut self) -> [u8; 10] {
        if self.random.chance(30) { self.random.pick(&self.extended_pool) } else { extended(self.random) }
    }

    /// Where a branch may go: mostly somewhere canonical.
    pub fn code_address(&mut self) -> u64 {
        match self.random.below(20) {
            0 => self.random.word(),
            1 => 0x7fff_ffff_fff0 + self.random.below(16),
            2..=4 => self.random.below(1 << 47),
            _ => CODE + self.random.below(4096),
        }
    }

    fn fresh(&mut self, element: Element) -> u64 {
        match element {
            Element::F32 => u64::from(single(self.random)) | u64::from(single(self.random)) << 32,
            Element::F64 => double(self.random),
            Element::F80 | Element::Decimal => self.random.word(),
            Element::Integer(size) => {
                let parts = 8 / u32::from(size);
                let bits = u32::from(size) * 8;
                (0..parts).fold(0, |word, part| word | low(integer(self.random, size), bits) << (part * bits))
            }
        }
    }
}

/// An immediate.
pub fn immediate(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => integer(random, 1),
        1 => integer(random, 4),
        2 => random.below(70),
        _ => random.word(),
    }
}

fn low(value: u64, bits: u32) -> u64 {
    value & (u64::MAX >> (64 - bits))
}

/// An integer of `size` bytes, zero-extended: often at a bound of its type or next to a power of two.
fn integer(random: &mut Random, size: u8) -> u64 {
    let bits = u32::from(size) * 8;
    let value = match random.below(10) {
        0 => 0,
        1 => 1,
        2 => u64::MAX,
        3 => 1 << (bits - 1),
        4 => (1 << (bits - 1)) - 1,
        5..=6 => (1u64 << random.below(bits.into())).wrapping_add(random.below(3)).wrapping_sub(1),
        7 => random.below(128),
        _ => random.word(),
    };
    low(value, bits)
}

/// Exponents at which conversions to integers change, and others.
const NEAR_ONE: [i64; 12] = [-2, -1, 0, 1, 7, 15, 30, 31, 32, 62, 63, 64];

fn single(random: &mut Random) -> u32 {
    let sign = (random.word() as u32 & 1) << 31;
    let fraction = fraction(random, 23) as u32;
    let magnitude = match random.below(16) {
        0 => 0,
        1 => fraction.max(1),
        2 => 1 << 23 | fraction,
        3 => 0xfe << 23 | fraction,
        4 => 0xff << 23,
        5 => 0xff << 23 | 1 << 22 | fraction,
        6 => 0xff << 23 | fraction.max(1),
        7 => 127 << 23,
        8..=11 => ((127 + random.pick(&NEAR_ONE)) as u32) << 23 | fraction,
        12..=13 => ((117 + random.below(20)) as u32) << 23 | fraction,
        _ => random.word() as u32 >> 1,
    };
    sign | magnitude
}

fn double(random: &mut Random) -> u64 {
    let sign = random.word() << 63;
    let fraction = fraction(random, 52);
    let magnitude = match random.below(16) {
        0 => 0,
        1 => fraction.max(1),
        2 => 1 << 52 | fraction,
        3 => 0x7fe << 52 | fraction,
        4 => 0x7ff << 52,
        5 => 0x7ff << 52 | 1 << 51 | fraction,
        6 => 0x7ff << 52 | fraction.max(1),
        7 => 1023 << 52,
        8..=10 => ((1023 + random.pick(&NEAR_ONE)) as u64) << 52 | fraction,
        11..=12 => (1013 + random.below(20)) << 52 | fraction,
        // Around the bounds of binary32.
        13 => (1023 - 152 + random.below(30)) << 52 | fraction,
        14 => (1023 + 120 + random.below(16)) << 52 | fraction,
        _ => random.word() >> 1,
    };
    sign | magnitude
}

/// Fraction bits: none, all, one, few at either end, random.
fn fraction(random: &mut Random, bits: u32) -> u64 {
    let all = (1u64 << bits) - 1;
    match random.below(6) {
        0 => 0,
        1 => all,
        2 => 1 << random.below(bits.into()),
        3 => random.word() & all & !(all >> random.below(u64::from(bits) - 1)),
        4 => all ^ random.below(8),
        _ => random.word() & all,
    }
}

fn extended(random: &mut Random) -> [u8; 10] {
    const INTEGER_BIT: u64 = 1 << 63;
    let fraction = fraction(random, 63);
    let normal = INTEGER_BIT | fraction;
    let (exponent, significand) = match random.below(24) {
        0 => (0, 0),
        // Denormal, pseudo-denormal.
        1 => (0, fraction.max(1)),
        2 => (0, normal),
        3 => (1, normal),
        4 => (0x7ffe, normal),
        // Infinity, quiet and signalling NaN; pseudo-infinity, pseudo-NaN, unnormal.
        5 => (0x7fff, INTEGER_BIT),
        6 => (0x7fff, normal | 1 << 62),
        7 => (0x7fff, (normal & !(1 << 62)) | 1),
        8 => (0x7fff, fraction),
        9 => (1 + random.below(0x7ffe) as u16, fraction),
        10..=11 => (0x3fff, INTEGER_BIT),
        12..=16 => ((0x3fff + random.pick(&NEAR_ONE)) as u16, normal),
        17..=18 => (0x3fff - 10 + random.below(20) as u16, normal),
        // Around the bounds of binary64 and binary32.
        19 => (0x3fff - 1080 + random.below(70) as u16, normal),
        20 => (0x3fff + 1015 + random.below(16) as u16, normal),
        21 => (0x3fff - 155 + random.below(40) as u16, normal),
        _ => (random.below(0x8000) as u16, normal),
    };
    let sign = (random.word() as u16 & 1) << 15;
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&significand.to_le_bytes());
    bytes[8..].copy_from_slice(&(sign | exponent).to_le_bytes());
    bytes
}

fn decimal(random: &mut Random) -> [u8; 10] {
    let mut bytes = [0; 10];
    let digits = random.below(10) as usize;
    for byte in &mut bytes[..digits] {
        *byte = (random.below(10) << 4 | random.below(10)) as u8;
    }
    bytes[9] = (random.word() as u8) & 0x80;
    if random.chance(5) {
        bytes[random.below(10) as usize] = random.word() as u8;
    }
    bytes
}
