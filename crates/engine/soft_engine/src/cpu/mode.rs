//! Operating modes (SDM vol. 3, 2.2) as far as they change how instructions are decoded and addressed, and the
//! bits of the registers that select them.

/// Bits of CR0 (SDM vol. 3, 2.5).
pub mod cr0 {
    pub const PE: u64 = 1 << 0;
    pub const MP: u64 = 1 << 1;
    pub const EM: u64 = 1 << 2;
    pub const TS: u64 = 1 << 3;
    pub const ET: u64 = 1 << 4;
    pub const NE: u64 = 1 << 5;
    pub const WP: u64 = 1 << 16;
    pub const AM: u64 = 1 << 18;
    pub const NW: u64 = 1 << 29;
    pub const CD: u64 = 1 << 30;
    pub const PG: u64 = 1 << 31;
    /// Bits that can be set.
    pub const DEFINED: u64 = PE | MP | EM | TS | ET | NE | WP | AM | NW | CD | PG;
}

/// Bits of CR4 (SDM vol. 3, 2.5).
pub mod cr4 {
    pub const TSD: u64 = 1 << 2;
    pub const DE: u64 = 1 << 3;
    pub const PSE: u64 = 1 << 4;
    pub const PAE: u64 = 1 << 5;
    pub const MCE: u64 = 1 << 6;
    pub const PGE: u64 = 1 << 7;
    pub const PCE: u64 = 1 << 8;
    pub const OSFXSR: u64 = 1 << 9;
    pub const OSXMMEXCPT: u64 = 1 << 10;
    pub const UMIP: u64 = 1 << 11;
    pub const FSGSBASE: u64 = 1 << 16;
    pub const PCIDE: u64 = 1 << 17;
    pub const OSXSAVE: u64 = 1 << 18;
    pub const SMEP: u64 = 1 << 20;
    pub const SMAP: u64 = 1 << 21;
}

/// Bits of EFER (SDM vol. 3, 2.2.1).
pub mod efer {
    pub const SCE: u64 = 1 << 0;
    pub const LME: u64 = 1 << 8;
    pub const LMA: u64 = 1 << 10;
    pub const NXE: u64 = 1 << 11;
}

/// How instructions are decoded and segments used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Real-address mode.
    #[default]
    Real,
    /// Virtual-8086 mode.
    Virtual86,
    /// Protected mode or compatibility mode with 16-bit code.
    Protected16,
    /// Protected mode or compatibility mode with 32-bit code.
    Protected32,
    /// 64-bit mode.
    Long,
}

impl Mode {
    /// Size in bits of the code's default operands, which is also what the decoder is told.
    pub fn bits(self) -> u32 {
        match self {
            Mode::Real | Mode::Virtual86 | Mode::Protected16 => 16,
            Mode::Protected32 => 32,
            Mode::Long => 64,
        }
    }

    /// Bits of RIP that count. A 16-bit code segment can hold 32-bit jumps, so this is not a wrap-around.
    pub fn rip_mask(self) -> u64 {
        if self == Mode::Long { u64::MAX } else { u32::MAX.into() }
    }

    /// Segments have limits and types that are checked by descriptors.
    pub fn is_protected(self) -> bool {
        matches!(self, Mode::Protected16 | Mode::Protected32 | Mode::Long)
    }
}
