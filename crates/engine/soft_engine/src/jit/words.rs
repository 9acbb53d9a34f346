//! What generated code and the engine share, and where it is found.
//!
//! While generated code runs, RBP points to the guest's register file ([`Cpu::gpr`]); [`Words`] lies right before it.

use std::mem::offset_of;

use super::asm::{Rm, host};
use crate::cpu::{Core, Cpu, flags};

/// Guest registers that live in host registers while generated code runs; the others live in memory. RAX, RCX and RDX
/// of the host are scratch, its stack pointer stays its own.
pub const PINNED: [Option<u8>; 16] = [
    Some(8),
    Some(9),
    Some(10),
    Some(host::RBX),
    Some(11),
    Some(12),
    Some(host::RSI),
    Some(host::RDI),
    Some(13),
    None,
    None,
    None,
    Some(14),
    Some(15),
    None,
    None,
];

/// Words of generated code's own, at fixed places: the last 128 bytes are reached by short displacements.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Words {
    /// The translator's tables, for callbacks.
    pub jit: u64,
    /// Where the last x87 instruction stands that is no control instruction, and its operand's effective address; they
    /// count while the unit is in the host.
    pub fpu_instruction: u64,
    pub fpu_data: u64,
    /// What of the guest's status word is the host's, and what is that of `fpu_conditions` (see [`conditions`]); they count
    /// while the unit is in the host.
    pub fpu_sources: u32,
    /// The status word when its conditions were last known.
    pub fpu_conditions: u32,
    /// Address of an access that missed the TLB.
    pub address: u64,
    /// A value that outlives an access to memory.
    pub kept: u64,
    /// The software TLBs of a supervisor without and with access to the user's pages.
    pub tlbs: [u64; 2],
    /// The tables of indirect jumps.
    pub all_jumps: u64,
    /// How often all code was dropped.
    pub cleared: u64,
    /// Host addresses of windows (see `jit/windows.rs`).
    pub windows: [u64; WINDOWS],
    /// The table of returns that counts now (see `jit/returns.rs`).
    pub returns: u64,
    /// The table of indirect jumps that counts now.
    pub jumps: u64,
    /// What entries of that table have to say to count: the privilege, and the translations of the address space or
    /// the global ones; first those that are usual for this privilege.
    pub salts: [u64; 2],
    /// The software TLB of the current view.
    pub tlb: u64,
    /// Address of the word that is not zero when others want something of this vCPU.
    pub pending: u64,
    /// Linear address of the page that is executed.
    pub page: u64,
    /// Status flags as LAHF and SETO leave them in AX.
    pub flags: u32,
    /// The guest's vector registers are in the host's, for what [`vectors`] says.
    pub vectors_live: u8,
    /// The guest's x87 unit is in the host's; right behind `vectors_live`.
    pub fpu_live: u8,
    /// Which vector instructions neither fault nor trap now.
    pub vectors_allowed: u8,
    /// x87 instructions neither fault nor trap now.
    pub fpu_allowed: u8,
    /// The unit's state was put into the image and counts.
    pub fpu_left: u8,
    /// An interrupt waits for IF.
    pub interrupt_waits: u8,
    /// EFLAGS.AC chooses between the two of `tlbs`.
    pub ac_counts: u8,
}

/// Windows of a unit at most.
pub const WINDOWS: usize = 8;

/// What can be done with vector registers; each level includes those before.
pub mod vectors {
    pub const NONE: u8 = 0;
    /// Instructions of SSE and its successors in their legacy encoding.
    pub const SSE: u8 = 1;
    /// Those with a VEX prefix too.
    pub const AVX: u8 = 2;
}

/// Where the guest's x87 conditions are: in the host's status word they count only behind instructions that define them.
/// The lower half says which bits are the host's, the upper half which ones are those that generated code keeps.
pub mod conditions {
    use crate::undefined::{ALL_BUT_C1 as KEPT, C1};

    /// C1 is the host's, the others are kept.
    pub const HOST_C1: u32 = sources(!KEPT, KEPT);
    /// All are kept.
    pub const ALL_KEPT: u32 = sources(!(KEPT | C1), KEPT | C1);
    /// C1 is clear, the others are kept.
    pub const CLEAR_C1: u32 = sources(!(KEPT | C1), KEPT);

    const fn sources(host: u16, kept: u16) -> u32 {
        (kept as u32) << 16 | host as u32
    }

    /// The guest's status word.
    pub fn status(host: u16, sources: u32, kept: u16) -> u16 {
        host & sources as u16 | kept & (sources >> 16) as u16
    }
}

const SIZE: i32 = size_of::<Words>() as i32;

macro_rules! word_at {
    ($field:ident) => {
        $crate::jit::words::at_word(std::mem::offset_of!($crate::jit::words::Words, $field))
    };
}
pub(super) use word_at;

/// A word off RBP.
pub const fn at_word(offset: usize) -> Rm {
    Rm::At(host::RBP, offset as i32 - SIZE)
}

/// The place of a window's host address.
pub fn window(slot: u8) -> Rm {
    at_word(offset_of!(Words, windows) + usize::from(slot) * 8)
}

/// The place of the upper half of `fpu_sources`.
pub const fn kept_conditions() -> Rm {
    at_word(offset_of!(Words, fpu_sources) + 2)
}

/// The place of one of the salts.
pub const fn salt(number: usize) -> Rm {
    at_word(offset_of!(Words, salts) + number * 8)
}

/// A guest register's place in memory.
pub const fn gpr(number: u8) -> Rm {
    Rm::At(host::RBP, number as i32 * 8)
}

/// RIP's place.
pub const fn rip() -> Rm {
    Rm::At(host::RBP, offset_of!(Cpu, rip) as i32)
}

/// The place of a field of the state.
pub const fn state(offset: usize) -> Rm {
    Rm::At(host::RBP, offset as i32)
}

/// The place of RFLAGS but for the status flags.
pub const fn flags() -> Rm {
    state(offset_of!(Cpu, flags) + flags::BITS)
}

/// The place of the address of a supervisor's software TLB.
pub const fn supervisor_tlb(lifted: bool) -> Rm {
    at_word(offset_of!(Words, tlbs) + lifted as usize * 8)
}

/// The current view's place.
pub const fn view() -> Rm {
    Rm::At(host::RBP, offset_of!(Core<'static>, view) as i32 - REGISTERS as i32)
}

/// MXCSR's place.
pub const fn mxcsr() -> Rm {
    Rm::At(host::RBP, offset_of!(Cpu, mxcsr) as i32)
}

/// A vector register's place.
pub const fn vector(number: u8) -> Rm {
    Rm::At(host::RBP, offset_of!(Cpu, vectors) as i32 + number as i32 * 32)
}

/// The place of what a vector register has beyond 16 bytes.
pub const fn upper_half(number: u8) -> Rm {
    Rm::At(host::RBP, offset_of!(Cpu, vectors) as i32 + number as i32 * 32 + 16)
}

/// The place of the image of the x87 unit.
pub const fn fpu_image() -> Rm {
    Rm::At(host::RBP, offset_of!(Core<'static>, fpu_image) as i32 - REGISTERS as i32)
}

/// The place of a segment's base.
pub const fn base(segment: usize) -> Rm {
    Rm::At(host::RBP, (offset_of!(Cpu, bases) + segment * 8) as i32)
}

/// From the core to what RBP points to.
pub const REGISTERS: usize = offset_of!(Core<'static>, cpu);

const _: () = assert!(offset_of!(Words, fpu_live) == offset_of!(Words, vectors_live) + 1);
const _: () = assert!(REGISTERS == size_of::<Words>() && offset_of!(Cpu, gpr) == 0);
