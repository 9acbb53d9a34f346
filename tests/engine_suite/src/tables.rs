//! Descriptors, gates and page-table entries as they stand in memory (SDM vol. 3, 3.4.5, 5.8, 6.14.1, 4.5).

use arch_model::x86_64::Segment;

/// Type of an available 32- or 64-bit TSS (SDM vol. 3, table 3-2).
pub const TSS: u8 = 9;
/// In a TSS's type: busy.
pub const BUSY: u8 = 2;
/// Type of a call gate.
pub const CALL_GATE: u8 = 12;
/// Type of a task gate.
pub const TASK_GATE: u8 = 5;
/// Type of an interrupt gate.
pub const INTERRUPT_GATE: u8 = 14;

/// Page-table entry: present.
pub const P: u64 = 1 << 0;
/// Page-table entry: writable.
pub const W: u64 = 1 << 1;
/// Page-table entry: user.
pub const U: u64 = 1 << 2;
/// Page-table entry: accessed.
pub const A: u64 = 1 << 5;
/// Page-table entry: dirty.
pub const D: u64 = 1 << 6;
/// Page-table entry: a large page.
pub const PS: u64 = 1 << 7;
/// Page-table entry: global.
pub const G: u64 = 1 << 8;
/// Page-table entry: no execution.
pub const NX: u64 = 1 << 63;

/// What a segment descriptor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Four bits of type.
    pub kind: u8,
    /// Code or data rather than system.
    pub code_or_data: bool,
    /// Privilege level.
    pub dpl: u8,
    /// Present.
    pub present: bool,
    /// 64-bit code.
    pub long: bool,
    /// D/B.
    pub big: bool,
    /// Base.
    pub base: u32,
    /// Limit as encoded, 20 bits.
    pub limit: u32,
    /// The limit counts pages.
    pub granular: bool,
}

impl Descriptor {
    /// Flat code or data.
    pub const fn flat(kind: u8, dpl: u8) -> Descriptor {
        Descriptor {
            kind,
            code_or_data: true,
            dpl,
            present: true,
            long: false,
            big: true,
            base: 0,
            limit: 0xf_ffff,
            granular: true,
        }
    }

    /// Flat 64-bit code.
    pub const fn code64(kind: u8, dpl: u8) -> Descriptor {
        Descriptor { long: true, big: false, ..Descriptor::flat(kind, dpl) }
    }

    /// A system segment, whose limit counts bytes.
    pub const fn system(kind: u8, dpl: u8, base: u32, limit: u32) -> Descriptor {
        let flat = Descriptor::flat(kind, dpl);
        Descriptor { code_or_data: false, base, limit, granular: false, big: false, ..flat }
    }

    /// Its 8 bytes.
    pub fn raw(self) -> u64 {
        let Descriptor { kind, code_or_data, dpl, present, long, big, base, limit, granular } = self;
        let bit = |on: bool, at: u32| u64::from(on) << at;
        u64::from(limit & 0xffff)
            | u64::from(base & 0xff_ffff) << 16
            | u64::from(kind & 0xf) << 40
            | bit(code_or_data, 44)
            | u64::from(dpl & 3) << 45
            | bit(present, 47)
            | u64::from(limit >> 16 & 0xf) << 48
            | bit(long, 53)
            | bit(big, 54)
            | bit(granular, 55)
            | u64::from(base >> 24) << 56
    }

    /// A segment register into which it was loaded.
    pub fn segment(self, selector: u16) -> Segment {
        Segment {
            selector,
            base: self.base.into(),
            limit: if self.granular { self.limit << 12 | 0xfff } else { self.limit },
            kind: self.kind | u8::from(self.code_or_data),
            code_or_data: self.code_or_data,
            dpl: self.dpl,
            present: self.present,
            available: false,
            long: self.long,
            default_big: self.big,
            granular: self.granular,
            unusable: false,
        }
    }

    /// Code (SDM vol. 3, 3.4.5.1).
    pub fn is_code(self) -> bool {
        self.code_or_data && self.kind & 8 != 0
    }

    /// Conforming code.
    pub fn is_conforming(self) -> bool {
        self.is_code() && self.kind & 4 != 0
    }

    /// Data, or readable code.
    pub fn is_readable(self) -> bool {
        self.code_or_data && (self.kind & 8 == 0 || self.kind & 2 != 0)
    }

    /// Writable data.
    pub fn is_writable(self) -> bool {
        self.code_or_data && self.kind & 0xa == 2
    }
}

/// A gate of 8 bytes (32-bit) or 16 (IA-32e mode).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Five bits: type and, above it, S.
    pub kind: u8,
    /// Privilege level.
    pub dpl: u8,
    /// Present.
    pub present: bool,
    /// Target segment.
    pub selector: u16,
    /// Target.
    pub offset: u64,
    /// Interrupt stack table, or the number of parameters.
    pub stack: u8,
}

impl Gate {
    /// A present interrupt gate.
    pub fn interrupt(selector: u16, offset: u64, dpl: u8) -> Gate {
        Gate { kind: INTERRUPT_GATE, dpl, present: true, selector, offset, stack: 0 }
    }

    /// The gate of 16 bytes.
    pub fn raw(self) -> [u64; 2] {
        let Gate { kind, dpl, present, selector, offset, stack } = self;
        let low = offset & 0xffff
            | u64::from(selector) << 16
            | u64::from(stack) << 32
            | u64::from(kind & 0x1f) << 40
            | u64::from(dpl & 3) << 45
            | u64::from(present) << 47
            | (offset >> 16 & 0xffff) << 48;
        [low, offset >> 32]
    }
}
