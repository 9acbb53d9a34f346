//! A decoded instruction in the form that handlers execute.

use crate::cpu::{Core, Exec};

/// Executes one instruction. RIP-relative operands and fall-through use the next instruction's address, which is
/// set already; a branch changes it. On `Err` no architectural state may have changed.
pub type Handler = fn(&mut Core<'_>, &Insn) -> Exec;

/// What an operand is; which kind of register is the handler's own knowledge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OperandKind {
    /// There is no such operand.
    #[default]
    None,
    /// A register of the class that the instruction uses at this place.
    Register,
    /// AH, CH, DH or BH: `register` is that of the low byte.
    HighByte,
    /// Memory at the instruction's effective address.
    Memory,
    /// The instruction's immediate.
    Immediate,
}

/// One operand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Operand {
    /// What it is.
    pub kind: OperandKind,
    /// Register number where it is one.
    pub register: u8,
}

impl Operand {
    /// Whether it is in memory.
    #[inline(always)]
    pub fn is_memory(self) -> bool {
        self.kind == OperandKind::Memory
    }
}

/// Prefixes that change what is done.
pub mod prefix {
    pub const LOCK: u8 = 1;
    pub const REP: u8 = 2;
    pub const REPNE: u8 = 4;
    /// One of the last two, before a string instruction.
    pub const REPEATED: u8 = 8;
}

/// A decoded instruction. Independent of where it stands: branch targets and RIP-relative operands are relative.
#[derive(Clone, Copy)]
pub struct Insn {
    /// What executes it.
    pub run: Handler,
    /// Immediate, sign-extended as the instruction has it; displacement of a near branch; for far pointers the
    /// offset in the low 32 bits and the selector above; for ENTER the second immediate in bits 39:32.
    pub imm: u64,
    /// Displacement of the memory operand, sign-extended where it is used (an absolute 64-bit one is in `imm`).
    pub disp: i32,
    /// Operands in the order of the manual's Intel syntax.
    pub ops: [Operand; 4],
    /// Index of the memory operand's base register, or [`gpr::ZERO`](crate::cpu::gpr::ZERO).
    pub base: u8,
    /// Index register, or `ZERO`.
    pub index: u8,
    /// The index is shifted left by this.
    pub scale: u8,
    /// Segment of the memory operand, overrides taken into account.
    pub segment: u8,
    /// Size of effective addresses and string counters in bytes: 2, 4, 8.
    pub address_size: u8,
    /// Operand size in bytes as the prefixes and the mode give it: 2, 4, 8 (1 for byte forms).
    pub size: u8,
    /// Length in bytes.
    pub len: u8,
    /// See [`prefix`].
    pub prefixes: u8,
    /// What ends with it.
    pub flow: Flow,
}

/// What the block builder has to know about an instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// The next instruction follows.
    #[default]
    Next,
    /// The block ends: a branch, or state changed on which decoding or delivery of interrupts depends.
    End,
}

impl Insn {
    /// Whether the LOCK prefix is there.
    #[inline(always)]
    pub fn is_locked(&self) -> bool {
        self.prefixes & prefix::LOCK != 0
    }

    /// Whether it is a string instruction that repeats itself.
    pub fn is_repeated_string(&self) -> bool {
        self.prefixes & prefix::REPEATED != 0
    }
}
