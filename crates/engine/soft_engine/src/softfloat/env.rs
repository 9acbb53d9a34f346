//! What an instruction's arithmetic depends on besides its operands, and the flags that come out.

/// Exception flags, numbered as in MXCSR and in the x87 status word (SDM vol. 1, 8.1.3 and 10.2.3).
pub mod flag {
    /// Invalid operation.
    pub const INVALID: u8 = 1;
    /// A denormal operand.
    pub const DENORMAL: u8 = 2;
    /// Division of a finite number by zero.
    pub const DIVIDE_BY_ZERO: u8 = 4;
    /// The result is too large for the destination.
    pub const OVERFLOW: u8 = 8;
    /// The result is too small for the destination.
    pub const UNDERFLOW: u8 = 16;
    /// The result was rounded.
    pub const PRECISION: u8 = 32;
    /// All six.
    pub const ALL: u8 = 63;
    /// Those found in the operands, before anything is computed (SDM vol. 1, 4.9.1).
    pub const BEFORE_COMPUTATION: u8 = INVALID | DENORMAL | DIVIDE_BY_ZERO;
}

/// The direction of rounding, numbered as in MXCSR.RC and the x87 control word (SDM vol. 1, table 4-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Rounding {
    /// To the nearest, ties to even.
    Nearest = 0,
    /// Toward −∞.
    Down = 1,
    /// Toward +∞.
    Up = 2,
    /// Toward zero.
    Zero = 3,
}

impl Rounding {
    /// The direction that the two low bits of `field` name.
    pub fn from_field(field: u32) -> Self {
        match field & 3 {
            0 => Self::Nearest,
            1 => Self::Down,
            2 => Self::Up,
            _ => Self::Zero,
        }
    }
}

/// x87's precision control: bits of significand of a sum, difference, product, quotient or square root
/// (SDM vol. 1, 8.1.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 24 bits.
    Single,
    /// 53 bits.
    Double,
    /// 64 bits.
    Extended,
}

impl Precision {
    /// Bits of significand, the integer bit included.
    pub(super) fn bits(self) -> u32 {
        match self {
            Self::Single => 24,
            Self::Double => 53,
            Self::Extended => 64,
        }
    }
}

/// The floating-point environment of one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Env {
    /// The direction of rounding.
    pub rounding: Rounding,
    /// Denormals are zeros (MXCSR.DAZ; never for x87).
    pub daz: bool,
    /// Flush to zero (MXCSR.FTZ; never for x87).
    pub ftz: bool,
    /// Exceptions that are not masked, as [`flag`] bits.
    pub unmasked: u8,
    /// x87's precision control; only arithmetic on [`F80`](super::F80) looks at it.
    pub precision: Precision,
    /// Flags that are set already in MXCSR. Where finding out costs something, a flag of these need not appear in
    /// `raised`: only `raised | sticky` is exact. Zero is always allowed.
    pub sticky: u8,
    /// Flags raised since the environment was made.
    pub raised: u8,
    /// Whether the last rounding was away from zero: C1 of x87. Only exact where [`F80`](super::F80) takes part.
    pub rounded_up: bool,
}

impl Env {
    /// Round to nearest, everything masked, full precision.
    pub const DEFAULT: Self = Self {
        rounding: Rounding::Nearest,
        daz: false,
        ftz: false,
        unmasked: 0,
        precision: Precision::Extended,
        sticky: 0,
        raised: 0,
        rounded_up: false,
    };

    /// The environment that MXCSR describes (SDM vol. 1, 10.2.3).
    pub fn from_mxcsr(mxcsr: u32) -> Self {
        Self {
            rounding: Rounding::from_field(mxcsr >> 13),
            daz: mxcsr & 1 << 6 != 0,
            ftz: mxcsr & 1 << 15 != 0,
            unmasked: !(mxcsr >> 7) as u8 & flag::ALL,
            sticky: mxcsr as u8 & flag::ALL,
            ..Self::DEFAULT
        }
    }

    /// The environment that the x87 control word describes (SDM vol. 1, 8.1.5). The reserved precision control 01
    /// counts as extended.
    pub fn from_control_word(control: u16) -> Self {
        let precision = match control >> 8 & 3 {
            0 => Precision::Single,
            2 => Precision::Double,
            _ => Precision::Extended,
        };
        Self {
            rounding: Rounding::from_field(u32::from(control >> 10)),
            unmasked: !control as u8 & flag::ALL,
            precision,
            ..Self::DEFAULT
        }
    }

    /// The flags to be set in MXCSR or the status word: when an exception found in the operands of any element is
    /// unmasked, nothing is computed and only such flags are set (SDM vol. 1, 4.9.2 and 11.5.3).
    pub fn reported(&self) -> u8 {
        let stopped = self.raised & self.unmasked & flag::BEFORE_COMPUTATION != 0;
        if stopped { self.raised & flag::BEFORE_COMPUTATION } else { self.raised }
    }

    /// Collects flags.
    pub(super) fn raise(&mut self, flags: u8) {
        self.raised |= flags;
    }

    pub(super) fn is_unmasked(&self, flags: u8) -> bool {
        self.unmasked & flags != 0
    }
}
