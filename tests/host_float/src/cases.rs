//! Operands.

use soft_engine::softfloat::F80;

/// Random cases of each operation: a sample in builds with debug assertions, a million without.
pub const RANDOM_CASES: usize = if cfg!(debug_assertions) { 1_500 } else { 1_000_000 };

/// A generator of pseudo-random numbers (xorshift64*), the same in every run.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator for a test of that name.
    pub fn seeded(name: &str) -> Self {
        let seed = name.bytes().fold(0x9e37_79b9_7f4a_7c15, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(seed | 1)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        (self.draw() >> 16) % limit
    }

    /// A significand of random length, so that short ones, long runs of ones and of zeros occur.
    fn bits(&mut self) -> u64 {
        match self.below(5) {
            0 => self.draw() & self.draw() & self.draw(),
            1 => self.draw() | self.draw() | self.draw(),
            2 => self.draw() << self.below(64),
            3 => !0 << self.below(64),
            _ => self.draw(),
        }
    }
}

/// Operands of one format.
pub trait Operand: Copy {
    /// The values at which something changes.
    fn boundaries() -> Vec<Self>;
    /// A random one; `near` draws its exponent from a narrow band, so that two of them interact.
    fn random(random: &mut Random, near: bool) -> Self;
}

macro_rules! operand {
    ($bits:ty, $precision:literal, $bias:literal) => {
        impl Operand for $bits {
            fn boundaries() -> Vec<Self> {
                const ONE_STEP: $bits = 1 << ($precision - 1);
                const TOP: $bits = 2 * $bias + 1;
                let positive = [
                    0,
                    1,
                    2,
                    ONE_STEP - 1,
                    ONE_STEP,
                    ONE_STEP + 1,
                    2 * ONE_STEP,
                    $precision * ONE_STEP,
                    $bias / 2 * ONE_STEP,
                    ($bias - 1) * ONE_STEP,
                    $bias * ONE_STEP - 1,
                    $bias * ONE_STEP,
                    $bias * ONE_STEP + 1,
                    $bias * ONE_STEP + ONE_STEP / 2,
                    ($bias + $precision - 1) * ONE_STEP,
                    ($bias + 31 % $bias) * ONE_STEP - 1,
                    (TOP - 1) * ONE_STEP,
                    TOP * ONE_STEP - 1,
                    TOP * ONE_STEP,
                    TOP * ONE_STEP + 1,
                    TOP * ONE_STEP + ONE_STEP / 2,
                    TOP * ONE_STEP + ONE_STEP / 2 + 5,
                ];
                let sign = 1 << (<$bits>::BITS - 1);
                positive.iter().flat_map(|value| [*value, *value | sign]).collect()
            }

            fn random(random: &mut Random, near: bool) -> Self {
                let fraction = random.bits() as $bits & ((1 << ($precision - 1)) - 1);
                let biased = match (near, random.below(8)) {
                    (false, 0) => random.below(4),
                    (false, 1) => 2 * $bias + 1 - random.below(4),
                    (false, _) => random.below(2 * $bias + 2),
                    (true, 0) => random.below(2 * $precision),
                    (true, 1) => 2 * $bias - random.below($precision.min($bias)),
                    (true, _) => $bias - 4 + random.below($precision.min($bias) + 8).min($bias),
                };
                let sign = random.draw() as $bits & 1;
                sign << (<$bits>::BITS - 1) | (biased as $bits) << ($precision - 1) | fraction
            }
        }
    };
}

operand!(u16, 11, 15);
operand!(u32, 24, 127);
operand!(u64, 53, 1023);

impl Operand for F80 {
    fn boundaries() -> Vec<Self> {
        const TOP: u64 = 1 << 63;
        let positive: [(u16, u64); 28] = [
            (0, 0),
            (0, 1),
            (0, TOP - 1),
            (0, TOP),
            (1, TOP),
            (1, TOP + 1),
            (1, TOP - 1),
            (64, TOP),
            (0x1fff, TOP + 0x800),
            (0x3fbe, TOP),
            (0x3ffe, TOP),
            (0x3ffe, !0),
            (0x3fff, TOP),
            (0x3fff, TOP | TOP >> 1),
            (0x4000, 0xc90f_daa2_2168_c235),
            (0x401e, !0),
            (0x403a, 0xde0b_6b3a_763f_ffff),
            (0x403d, !0),
            (0x403e, TOP),
            (0x407f, TOP + 1),
            (0x7ffe, TOP),
            (0x7ffe, !0),
            (0x7ffe, 1),
            (0x7fff, TOP),
            (0x7fff, 0),
            (0x7fff, TOP + 1),
            (0x7fff, TOP | TOP >> 1),
            (0x7fff, TOP | TOP >> 1 | 7),
        ];
        let signs = |(exponent, significand): (u16, u64)| {
            [exponent, exponent | 0x8000].map(|sign_exponent| Self { sign_exponent, significand })
        };
        positive.into_iter().flat_map(signs).collect()
    }

    fn random(random: &mut Random, near: bool) -> Self {
        let exponent = match (near, random.below(16)) {
            (false, 0) => random.below(4),
            (false, 1) => 0x7fff - random.below(4),
            (false, _) => random.below(0x8000),
            (true, 0) => random.below(140),
            (true, 1) => 0x7ffe - random.below(80),
            (true, _) => 0x3fff - 6 + random.below(76),
        };
        let integer = if exponent == 0 || random.below(64) == 0 { random.draw() & 1 << 63 } else { 1 << 63 };
        Self {
            sign_exponent: exponent as u16 | (random.draw() as u16 & 0x8000),
            significand: random.bits() & !(1 << 63) | integer,
        }
    }
}

/// Calls `check` with all boundary pairs, then with random pairs.
pub fn pairs<T: Operand>(name: &str, mut check: impl FnMut(&mut Random, T, T)) {
    let mut random = Random::seeded(name);
    let values = T::boundaries();
    for a in &values {
        for b in &values {
            check(&mut random, *a, *b);
        }
    }
    for index in 0..RANDOM_CASES {
        let near = index % 4 != 0;
        let (a, b) = (T::random(&mut random, near), T::random(&mut random, near));
        check(&mut random, a, b);
    }
}
