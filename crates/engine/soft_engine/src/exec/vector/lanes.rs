//! Vectors as values: how they come apart into lanes and are put together.

/// An MMX register's value.
pub type Mm = [u64; 1];
/// An XMM register's value.
pub type Xmm = [u64; 2];
/// A YMM register's value.
pub type Ymm = [u64; 4];

/// A value of one vector width. Operations on lanes are applied by [`Vector::zip_lanes`], others that do not cross 64
/// bits are written for `u64` and applied by [`Vector::vertical`]; packs and unpacks follow one pattern in both widths,
/// and in YMM registers are applied to each 128 bits.
pub trait Vector: Copy {
    /// Applies `operation` to each lane.
    fn map_lanes<T: Lane>(self, operation: impl Fn(T) -> T) -> Self;

    /// Applies `operation` to each lane of two vectors.
    fn zip_lanes<T: Lane>(self, other: Self, operation: impl Fn(T, T) -> T) -> Self;

    /// Takes the byte that each byte of `control` names, or zero if its highest bit is set (SDM vol. 2B, PSHUFB).
    fn shuffle_bytes(self, control: Self) -> Self;

    /// Applies `operation` to each 64 bits of one vector.
    fn each(self, operation: impl Fn(u64) -> u64) -> Self;

    /// Applies `operation` to each 64 bits of two vectors.
    fn vertical(self, other: Self, operation: impl Fn(u64, u64) -> u64) -> Self;

    /// Makes 32 bits of each 64 of this vector and then of the other, in order: packs and horizontal sums.
    fn narrow(self, other: Self, operation: impl Fn(u64) -> u32) -> Self;

    /// Makes 64 bits of each 32 of one half of both vectors: unpacks. The lower half, or the higher one.
    fn widen(self, other: Self, high: bool, operation: impl Fn(u32, u32) -> u64) -> Self;

    /// The low 64 bits.
    fn low(self) -> u64;
}

impl Vector for Mm {
    #[inline(always)]
    fn map_lanes<T: Lane>(self, operation: impl Fn(T) -> T) -> Self {
        let mut lanes = self[0].to_le_bytes();
        T::map(&mut lanes, operation);
        [u64::from_le_bytes(lanes)]
    }

    #[inline(always)]
    fn zip_lanes<T: Lane>(self, other: Self, operation: impl Fn(T, T) -> T) -> Self {
        let mut lanes = self[0].to_le_bytes();
        T::zip(&mut lanes, &other[0].to_le_bytes(), operation);
        [u64::from_le_bytes(lanes)]
    }

    #[inline(always)]
    fn shuffle_bytes(self, control: Self) -> Self {
        let mut taken = control[0].to_le_bytes();
        shuffle(&self[0].to_le_bytes(), &mut taken);
        [u64::from_le_bytes(taken)]
    }

    #[inline(always)]
    fn each(self, operation: impl Fn(u64) -> u64) -> Self {
        [operation(self[0])]
    }

    #[inline(always)]
    fn vertical(self, other: Self, operation: impl Fn(u64, u64) -> u64) -> Self {
        [operation(self[0], other[0])]
    }

    #[inline(always)]
    fn narrow(self, other: Self, operation: impl Fn(u64) -> u32) -> Self {
        [join_halves(operation(self[0]), operation(other[0]))]
    }

    #[inline(always)]
    fn widen(self, other: Self, high: bool, operation: impl Fn(u32, u32) -> u64) -> Self {
        [operation(half(self[0], high), half(other[0], high))]
    }

    #[inline(always)]
    fn low(self) -> u64 {
        self[0]
    }
}

impl Vector for Xmm {
    #[inline(always)]
    fn map_lanes<T: Lane>(self, operation: impl Fn(T) -> T) -> Self {
        let mut lanes = bytes(self);
        T::map(&mut lanes, operation);
        from_bytes(lanes)
    }

    #[inline(always)]
    fn zip_lanes<T: Lane>(self, other: Self, operation: impl Fn(T, T) -> T) -> Self {
        let mut lanes = bytes(self);
        T::zip(&mut lanes, &bytes(other), operation);
        from_bytes(lanes)
    }

    #[inline(always)]
    fn shuffle_bytes(self, control: Self) -> Self {
        let mut taken = bytes(control);
        shuffle(&bytes(self), &mut taken);
        from_bytes(taken)
    }

    #[inline(always)]
    fn each(self, operation: impl Fn(u64) -> u64) -> Self {
        [operation(self[0]), operation(self[1])]
    }

    #[inline(always)]
    fn vertical(self, other: Self, operation: impl Fn(u64, u64) -> u64) -> Self {
        [operation(self[0], other[0]), operation(self[1], other[1])]
    }

    #[inline(always)]
    fn narrow(self, other: Self, operation: impl Fn(u64) -> u32) -> Self {
        [
            join_halves(operation(self[0]), operation(self[1])),
            join_halves(operation(other[0]), operation(other[1])),
        ]
    }

    #[inline(always)]
    fn widen(self, other: Self, high: bool, operation: impl Fn(u32, u32) -> u64) -> Self {
        let (a, b) = (self[usize::from(high)], other[usize::from(high)]);
        [operation(half(a, false), half(b, false)), operation(half(a, true), half(b, true))]
    }

    #[inline(always)]
    fn low(self) -> u64 {
        self[0]
    }
}

impl Vector for Ymm {
    #[inline(always)]
    fn map_lanes<T: Lane>(self, operation: impl Fn(T) -> T) -> Self {
        let mut lanes = wide_bytes(self);
        T::map(&mut lanes, operation);
        from_wide_bytes(lanes)
    }

    #[inline(always)]
    fn zip_lanes<T: Lane>(self, other: Self, operation: impl Fn(T, T) -> T) -> Self {
        let mut lanes = wide_bytes(self);
        T::zip(&mut lanes, &wide_bytes(other), operation);
        from_wide_bytes(lanes)
    }

    #[inline(always)]
    fn shuffle_bytes(self, control: Self) -> Self {
        zip_128(self, control, Xmm::shuffle_bytes)
    }

    #[inline(always)]
    fn each(self, operation: impl Fn(u64) -> u64) -> Self {
        self.map(operation)
    }

    #[inline(always)]
    fn vertical(self, other: Self, operation: impl Fn(u64, u64) -> u64) -> Self {
        std::array::from_fn(|index| operation(self[index], other[index]))
    }

    #[inline(always)]
    fn narrow(self, other: Self, operation: impl Fn(u64) -> u32) -> Self {
        zip_128(self, other, |a, b| a.narrow(b, &operation))
    }

    #[inline(always)]
    fn widen(self, other: Self, high: bool, operation: impl Fn(u32, u32) -> u64) -> Self {
        zip_128(self, other, |a, b| a.widen(b, high, &operation))
    }

    #[inline(always)]
    fn low(self) -> u64 {
        self[0]
    }
}

/// A vector that some operations take byte by byte.
pub trait Single: Vector {
    /// Makes each byte of `operation`, which is told the byte's index.
    fn from_bytes(operation: impl Fn(usize) -> u8) -> Self;

    /// The byte at `index`, taken modulo the size.
    fn byte(self, index: usize) -> u8;
}

impl Single for Mm {
    #[inline(always)]
    fn from_bytes(operation: impl Fn(usize) -> u8) -> Self {
        [u64::from_le_bytes(std::array::from_fn(operation))]
    }

    #[inline(always)]
    fn byte(self, index: usize) -> u8 {
        (self[0] >> ((index & 7) * 8)) as u8
    }
}

impl Single for Xmm {
    #[inline(always)]
    fn from_bytes(operation: impl Fn(usize) -> u8) -> Self {
        from_bytes(std::array::from_fn(operation))
    }

    #[inline(always)]
    fn byte(self, index: usize) -> u8 {
        (self[index >> 3 & 1] >> ((index & 7) * 8)) as u8
    }
}

/// A vector of one or more times 128 bits, beyond which most operations do not look.
pub trait Wide: Vector {
    /// How many.
    const LANES: usize;
    /// 128 bits of it, of an index below [`Wide::LANES`].
    fn lane(self, index: usize) -> Xmm;
    /// Puts a vector together.
    fn from_lanes(lane: impl FnMut(usize) -> Xmm) -> Self;
}

impl Wide for Xmm {
    const LANES: usize = 1;

    #[inline(always)]
    fn lane(self, _index: usize) -> Xmm {
        self
    }

    #[inline(always)]
    fn from_lanes(mut lane: impl FnMut(usize) -> Xmm) -> Self {
        lane(0)
    }
}

impl Wide for Ymm {
    const LANES: usize = 2;

    #[inline(always)]
    fn lane(self, index: usize) -> Xmm {
        if index == 0 { [self[0], self[1]] } else { [self[2], self[3]] }
    }

    #[inline(always)]
    fn from_lanes(mut lane: impl FnMut(usize) -> Xmm) -> Self {
        let [low, high] = [lane(0), lane(1)];
        [low[0], low[1], high[0], high[1]]
    }
}

/// Applies `operation` to each 128 bits of two vectors.
#[inline(always)]
pub fn zip_128<V: Wide>(a: V, b: V, operation: impl Fn(Xmm, Xmm) -> Xmm) -> V {
    V::from_lanes(|index| operation(a.lane(index), b.lane(index)))
}

/// An integer that vectors hold several of. Vectors come as bytes in memory and the functions are not inlined: this
/// way the compiler makes one vector instruction of most operations, and dozens of scalar ones otherwise.
pub trait Lane: Copy {
    /// Applies `operation` to each lane.
    fn map<const N: usize>(lanes: &mut [u8; N], operation: impl Fn(Self) -> Self);
    /// Applies `operation` to each lane and the other's.
    fn zip<const N: usize>(lanes: &mut [u8; N], others: &[u8; N], operation: impl Fn(Self, Self) -> Self);
    /// All ones if `condition` holds, else zero.
    fn mask(condition: bool) -> Self;
}

macro_rules! lane {
    ($($lane:ty),*) => {$(
        impl Lane for $lane {
            #[inline(never)]
            fn map<const N: usize>(lanes: &mut [u8; N], operation: impl Fn(Self) -> Self) {
                for lane in lanes.as_chunks_mut().0 {
                    *lane = operation(<$lane>::from_le_bytes(*lane)).to_le_bytes();
                }
            }

            #[inline(never)]
            fn zip<const N: usize>(
                lanes: &mut [u8; N],
                others: &[u8; N],
                operation: impl Fn(Self, Self) -> Self,
            ) {
                for (lane, other) in lanes.as_chunks_mut().0.iter_mut().zip(others.as_chunks().0) {
                    *lane = operation(<$lane>::from_le_bytes(*lane), <$lane>::from_le_bytes(*other)).to_le_bytes();
                }
            }

            #[inline(always)]
            fn mask(condition: bool) -> Self {
                if condition { !0 } else { 0 }
            }
        }
    )*};
}
lane!(u8, i8, u16, i16, u32, i32, u64, i64);

#[inline(never)]
fn shuffle<const N: usize>(source: &[u8; N], control: &mut [u8; N]) {
    for byte in control {
        *byte = if *byte & 0x80 != 0 { 0 } else { source[usize::from(*byte) % N] };
    }
}

/// The low or the high 32 bits.
#[inline(always)]
pub fn half(value: u64, high: bool) -> u32 {
    if high { (value >> 32) as u32 } else { value as u32 }
}

/// 64 bits of two halves.
#[inline(always)]
pub fn join_halves(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// Four 16-bit lanes of 64 bits.
#[inline(always)]
pub fn words_of(value: u64) -> [u16; 4] {
    std::array::from_fn(|index| (value >> (16 * index)) as u16)
}

/// 64 bits of four 16-bit lanes.
#[inline(always)]
pub fn join_words(words: [u16; 4]) -> u64 {
    words.iter().rev().fold(0, |value, word| value << 16 | u64::from(*word))
}

/// The sixteen bytes.
#[inline(always)]
pub fn bytes(value: Xmm) -> [u8; 16] {
    bits(value).to_le_bytes()
}

/// A vector of sixteen bytes.
#[inline(always)]
pub fn from_bytes(bytes: [u8; 16]) -> Xmm {
    from_bits(u128::from_le_bytes(bytes))
}

/// The thirty-two bytes of a YMM register.
#[inline(always)]
pub fn wide_bytes(value: Ymm) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (place, piece) in bytes.as_chunks_mut().0.iter_mut().zip(value) {
        *place = piece.to_le_bytes();
    }
    bytes
}

/// A vector of thirty-two bytes.
#[inline(always)]
pub fn from_wide_bytes(bytes: [u8; 32]) -> Ymm {
    let pieces = bytes.as_chunks().0;
    std::array::from_fn(|index| u64::from_le_bytes(pieces[index]))
}

/// The eight 16-bit lanes.
#[inline(always)]
pub fn words(value: Xmm) -> [u16; 8] {
    std::array::from_fn(|index| (bits(value) >> (16 * index)) as u16)
}

/// A vector of eight 16-bit lanes.
#[inline(always)]
pub fn from_words(words: [u16; 8]) -> Xmm {
    from_bits(words.iter().rev().fold(0, |value, word| value << 16 | u128::from(*word)))
}

/// The four 32-bit lanes.
#[inline(always)]
pub fn dwords(value: Xmm) -> [u32; 4] {
    [half(value[0], false), half(value[0], true), half(value[1], false), half(value[1], true)]
}

/// A vector of four 32-bit lanes.
#[inline(always)]
pub fn from_dwords(dwords: [u32; 4]) -> Xmm {
    [join_halves(dwords[0], dwords[1]), join_halves(dwords[2], dwords[3])]
}

/// The vector as one number.
#[inline(always)]
pub fn bits(value: Xmm) -> u128 {
    u128::from(value[0]) | u128::from(value[1]) << 64
}

/// A vector from one number.
#[inline(always)]
pub fn from_bits(bits: u128) -> Xmm {
    [bits as u64, (bits >> 64) as u64]
}
