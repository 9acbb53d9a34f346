//! The state of one virtual CPU in a form that belongs to no engine.

use serde::{Deserialize, Serialize};

/// Everything that makes one vCPU continue elsewhere as if nothing had happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuState {
    /// General-purpose registers, RIP and RFLAGS.
    pub registers: Registers,
    /// Segments, control registers, descriptor tables.
    pub system: SystemRegisters,
    /// x87, SSE, AVX and beyond.
    pub extended: ExtendedState,
    /// Debug registers.
    pub debug: DebugRegisters,
    /// Model-specific registers, the TSC among them.
    pub msrs: Vec<MsrValue>,
    /// The local APIC.
    pub lapic: LapicState,
    /// Exceptions and interrupts on their way.
    pub events: PendingEvents,
    /// Whether the vCPU runs, halts, or waits to be started.
    pub run_state: RunState,
    /// Frequency of the TSC in kHz. `None`: not known where the state was saved; it goes on at the frequency of the
    /// engine that takes the state.
    pub tsc_khz: Option<u32>,
}

impl CpuState {
    /// Version of this layout, raised when its meaning changes.
    pub const VERSION: u32 = 2;

    /// The value of `index`, if it is among the saved MSRs.
    pub fn msr(&self, index: u32) -> Option<u64> {
        self.msrs.iter().find(|msr| msr.index == index).map(|msr| msr.value)
    }
}

/// General-purpose registers (SDM vol. 1, 3.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the manual's")]
pub struct Registers {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rsp: u64,
    pub rbp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rip: u64,
    pub rflags: u64,
}

impl Registers {
    /// The general-purpose registers `gpr`, in the order in which instructions number them: RAX, RCX, RDX, RBX, RSP,
    /// RBP, RSI, RDI, R8 to R15 (SDM vol. 2A, table 2-2).
    pub fn numbered(gpr: [u64; 16], rip: u64, rflags: u64) -> Registers {
        let [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15] = gpr;
        Registers {
            rax,
            rbx,
            rcx,
            rdx,
            rsi,
            rdi,
            rsp,
            rbp,
            r8,
            r9,
            r10,
            r11,
            r12,
            r13,
            r14,
            r15,
            rip,
            rflags,
        }
    }

    /// The general-purpose registers in that order.
    pub fn by_number(&self) -> [u64; 16] {
        let Registers { rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, .. } = *self;
        let Registers { r8, r9, r10, r11, r12, r13, r14, r15, .. } = *self;
        [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15]
    }
}

/// A segment register with its hidden part (SDM vol. 3, 3.4.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Selector.
    pub selector: u16,
    /// Base linear address.
    pub base: u64,
    /// Limit in bytes, after scaling by granularity.
    pub limit: u32,
    /// Descriptor type, 4 bits.
    pub kind: u8,
    /// Code or data (S = 1) rather than system.
    pub code_or_data: bool,
    /// Privilege level, 0 to 3.
    pub dpl: u8,
    /// Present.
    pub present: bool,
    /// Available to software.
    pub available: bool,
    /// 64-bit code (L).
    pub long: bool,
    /// Default operand size 32 (D/B).
    pub default_big: bool,
    /// Limit counted in pages (G).
    pub granular: bool,
    /// Not usable: a null selector was loaded (SDM vol. 3, 24.4.1).
    pub unusable: bool,
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescriptorTable {
    /// Linear address.
    pub base: u64,
    /// Size in bytes, less one.
    pub limit: u16,
}

/// Segments, descriptor tables and control registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the manual's")]
pub struct SystemRegisters {
    pub cs: Segment,
    pub ds: Segment,
    pub es: Segment,
    pub fs: Segment,
    pub gs: Segment,
    pub ss: Segment,
    pub tr: Segment,
    pub ldt: Segment,
    pub gdt: DescriptorTable,
    pub idt: DescriptorTable,
    pub cr0: u64,
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
    pub cr8: u64,
    pub efer: u64,
    /// IA32_APIC_BASE, which places and enables the local APIC.
    pub apic_base: u64,
}

/// The XSAVE area in its standard (non-compacted) form (SDM vol. 1, 13.4) and XCR0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtendedState {
    /// Legacy region, header, and the components enabled in `xcr0`; at least 576 bytes.
    pub xsave: Vec<u8>,
    /// XCR0; 1 (x87 only) where the guest has no XSAVE.
    pub xcr0: u64,
}

/// DR0 to DR3, DR6, DR7.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebugRegisters {
    /// Breakpoint addresses DR0 to DR3.
    pub addresses: [u64; 4],
    /// Status.
    pub dr6: u64,
    /// Control.
    pub dr7: u64,
}

/// One model-specific register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MsrValue {
    /// Register number.
    pub index: u32,
    /// Contents.
    pub value: u64,
}

/// The local APIC's register page (SDM vol. 3, 11.4.1): 64 registers, each at 16 times its index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LapicState {
    /// Register contents by offset / 16.
    pub registers: Vec<u32>,
}

/// Exceptions and interrupts that were accepted but not yet delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingEvents {
    /// An exception being delivered or waiting to be.
    pub exception: Option<PendingException>,
    /// Vector of an external interrupt being injected.
    pub interrupt: Option<u8>,
    /// The interrupt being injected is a software one (INT n).
    pub interrupt_is_soft: bool,
    /// Shadow of STI (bit 0: MOV SS, bit 1: STI), blocking interrupts for one instruction.
    pub interrupt_shadow: u8,
    /// An NMI is waiting.
    pub nmi_pending: bool,
    /// An NMI is being injected.
    pub nmi_injected: bool,
    /// NMIs are blocked until IRET.
    pub nmi_masked: bool,
    /// Vector of a start-up IPI, for a vCPU that has received one.
    pub sipi_vector: u32,
}

/// An exception on its way to the guest (SDM vol. 3, 6.15).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingException {
    /// Vector, 0 to 31.
    pub vector: u8,
    /// Error code, for those vectors that have one.
    pub error_code: Option<u32>,
    /// Delivery has begun (as opposed to: may still be pre-empted by a higher priority).
    pub injected: bool,
    /// CR2 or DR6 value that goes with it, where not yet written.
    pub payload: Option<u64>,
}

/// What a vCPU does when it is resumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunState {
    /// Executes instructions.
    #[default]
    Running,
    /// Waits for an interrupt after HLT.
    Halted,
    /// An application processor that waits for INIT (SDM vol. 3, 9.4).
    Uninitialized,
    /// Has received INIT and waits for the start-up IPI.
    InitReceived,
    /// Has received a start-up IPI that is not taken yet.
    SipiReceived,
}
