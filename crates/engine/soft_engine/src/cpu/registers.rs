//! The architectural state of one vCPU.

use arch_model::x86_64::{DebugRegisters, DescriptorTable, RunState, Segment};

use super::{Flags, Mode};
use crate::platform::Tsc;

/// Indexes of the general-purpose registers, as instructions encode them.
pub mod gpr {
    pub const RAX: usize = 0;
    pub const RCX: usize = 1;
    pub const RDX: usize = 2;
    pub const RBX: usize = 3;
    pub const RSP: usize = 4;
    pub const RBP: usize = 5;
    pub const RSI: usize = 6;
    pub const RDI: usize = 7;
    pub const R11: usize = 11;
    /// The next instruction's address while one is executed: the base of RIP-relative operands.
    pub const NEXT_RIP: usize = 16;
    /// Always zero: the base or index of an operand that has none.
    pub const ZERO: usize = 17;
    /// Slots in the register file; a power of two, so that any masked index is inside.
    pub const SLOTS: usize = 32;
}

/// Indexes of the segment registers, as instructions encode them.
pub mod seg {
    pub const ES: usize = 0;
    pub const CS: usize = 1;
    pub const SS: usize = 2;
    pub const DS: usize = 3;
    pub const FS: usize = 4;
    pub const GS: usize = 5;
}

/// One x87 data register (SDM vol. 1, 8.1.2). MMX registers are the significands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct X87Register {
    /// Explicit integer bit and fraction.
    pub significand: u64,
    /// Sign in bit 15, biased exponent below.
    pub sign_exponent: u16,
}

/// The x87 unit (SDM vol. 1, 8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fpu {
    /// R0 to R7, by physical number; ST(i) is at `(top + i) & 7`.
    pub registers: [X87Register; 8],
    /// Control word.
    pub control: u16,
    /// Status word, TOP in bits 13:11.
    pub status: u16,
    /// A bit for each physical register that is not empty (the abridged tag word of FXSAVE).
    pub valid: u8,
    /// Last opcode, 11 bits.
    pub opcode: u16,
    /// Last instruction pointer.
    pub instruction: u64,
    /// Last data pointer.
    pub data: u64,
}

impl Default for Fpu {
    fn default() -> Self {
        Fpu {
            registers: [X87Register::default(); 8],
            control: 0x37f,
            status: 0,
            valid: 0,
            opcode: 0,
            instruction: 0,
            data: 0,
        }
    }
}

/// Model-specific registers that are plain storage, by their names in the manuals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Msrs {
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub syscall_mask: u64,
    pub kernel_gs_base: u64,
    pub tsc_aux: u64,
    pub tsc_adjust: u64,
    pub pat: u64,
    pub misc_enable: u64,
    pub spec_ctrl: u64,
    pub mtrr_def_type: u64,
    pub mtrr_fixed: [u64; 11],
    pub mtrr_variable: [u64; 16],
    pub mcg_status: u64,
    pub kvm_wall_clock: u64,
    pub kvm_system_time: u64,
    pub kvm_steal_time: u64,
    pub kvm_poll_control: u64,
}

/// What holds events off until the end of the next instruction.
pub mod shadow {
    /// MOV SS and POP SS: all interrupts, breakpoints on that instruction, and debug traps (SDM vol. 3, 6.8.3).
    pub const MOV_SS: u8 = 1;
    /// STI that sets IF: interrupts that IF masks, and NMIs (SDM vol. 2, STI).
    pub const STI: u8 = 2;
}

/// Architectural state: what a saved state holds, but for the local APIC, and what follows from it.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct Cpu {
    /// RAX to R15 and the two slots of [`gpr`].
    pub gpr: [u64; gpr::SLOTS],
    /// Address of the instruction that is executed, an offset into CS.
    pub rip: u64,
    /// RFLAGS.
    pub flags: Flags,
    /// ES, CS, SS, DS, FS, GS.
    pub segments: [Segment; 6],
    /// Task register.
    pub tr: Segment,
    /// Local descriptor table.
    pub ldt: Segment,
    /// Global descriptor table.
    pub gdt: DescriptorTable,
    /// Interrupt descriptor table.
    pub idt: DescriptorTable,
    /// CR0.
    pub cr0: u64,
    /// CR2.
    pub cr2: u64,
    /// CR3, without bit 63.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// EFER, with LMA.
    pub efer: u64,
    /// XCR0.
    pub xcr0: u64,
    /// Debug registers.
    pub debug: DebugRegisters,
    /// Other MSRs.
    pub msrs: Msrs,
    /// x87 and MMX.
    pub fpu: Fpu,
    /// XMM0 to XMM15 in the low halves of YMM: little-endian 64-bit pieces.
    pub vectors: [[u64; 4]; 16],
    /// SSE control and status.
    pub mxcsr: u32,
    /// Executing, halted, or waiting to be started.
    pub run_state: RunState,
    /// Another vCPU asked this one out of its current or next HLT (KVM_HC_KICK_CPU).
    pub unhalted: bool,
    /// Bits of [`shadow`]; it lasts for one instruction.
    pub shadow: u8,
    /// Bits for DR6 of the data breakpoints that MOV SS or POP SS hit: the trap comes behind the next instruction, as
    /// [`shadow::MOV_SS`] says.
    pub held_traps: u64,
    /// NMIs wait for IRET.
    pub nmi_masked: bool,
    /// An NMI waits.
    pub nmi_pending: bool,
    /// Vector of a start-up IPI that is not taken yet.
    pub sipi_vector: u32,
    /// This vCPU's TSC.
    pub(crate) tsc: Tsc,
    /// How code is decoded and addresses are made; follows from CR0, EFER, RFLAGS.VM and CS.
    pub mode: Mode,
    /// Current privilege level; follows from SS (and CS in real mode).
    pub cpl: u8,
    /// Bases as address generation adds them: 0 for ES, CS, SS, DS in 64-bit mode.
    pub(crate) bases: [u64; 6],
}

impl Cpu {
    /// Condition-free read of a 64-bit general-purpose register.
    #[inline(always)]
    pub fn reg(&self, index: usize) -> u64 {
        self.gpr[index & (gpr::SLOTS - 1)]
    }

    /// The next instruction's address.
    #[inline(always)]
    pub fn next_rip(&self) -> u64 {
        self.gpr[gpr::NEXT_RIP]
    }

    /// Makes execution go on at `rip` after this instruction.
    #[inline(always)]
    pub fn set_next_rip(&mut self, rip: u64) {
        self.gpr[gpr::NEXT_RIP] = rip;
    }
}
