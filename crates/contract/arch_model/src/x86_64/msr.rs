//! Numbers of model-specific registers (SDM vol. 4; APM vol. 2, appendix A).

/// Time-stamp counter.
pub const TSC: u32 = 0x10;
/// APIC base.
pub const APIC_BASE: u32 = 0x1b;
/// Offset added to the TSC.
pub const TSC_ADJUST: u32 = 0x3b;
/// Memory type ranges: capabilities.
pub const MTRR_CAP: u32 = 0xfe;
/// SYSENTER code segment.
pub const SYSENTER_CS: u32 = 0x174;
/// SYSENTER stack pointer.
pub const SYSENTER_ESP: u32 = 0x175;
/// SYSENTER entry point.
pub const SYSENTER_EIP: u32 = 0x176;
/// Miscellaneous enables; bit 0 is fast strings.
pub const MISC_ENABLE: u32 = 0x1a0;
/// Page attribute table.
pub const PAT: u32 = 0x277;
/// Default memory type.
pub const MTRR_DEF_TYPE: u32 = 0x2ff;
/// TSC deadline of the local APIC's timer.
pub const TSC_DEADLINE: u32 = 0x6e0;
/// Supervisor state components saved by XSAVES.
pub const XSS: u32 = 0xda0;
/// Extended features: long mode, no-execute.
pub const EFER: u32 = 0xc000_0080;
/// SYSCALL selectors.
pub const STAR: u32 = 0xc000_0081;
/// SYSCALL entry point in long mode.
pub const LSTAR: u32 = 0xc000_0082;
/// SYSCALL entry point in compatibility mode.
pub const CSTAR: u32 = 0xc000_0083;
/// RFLAGS cleared by SYSCALL.
pub const SYSCALL_MASK: u32 = 0xc000_0084;
/// FS segment base.
pub const FS_BASE: u32 = 0xc000_0100;
/// GS segment base.
pub const GS_BASE: u32 = 0xc000_0101;
/// GS base swapped in by SWAPGS.
pub const KERNEL_GS_BASE: u32 = 0xc000_0102;
/// Value that RDTSCP and RDPID return.
pub const TSC_AUX: u32 = 0xc000_0103;

/// kvmclock and other paravirtual MSRs (Linux, `Documentation/virt/kvm/x86/msr.rst`).
pub mod kvm {
    /// Wall clock.
    pub const WALL_CLOCK: u32 = 0x4b56_4d00;
    /// System time.
    pub const SYSTEM_TIME: u32 = 0x4b56_4d01;
    /// Asynchronous page faults: enable.
    pub const ASYNC_PF_EN: u32 = 0x4b56_4d02;
    /// Steal time.
    pub const STEAL_TIME: u32 = 0x4b56_4d03;
    /// End of interrupt without exit.
    pub const PV_EOI_EN: u32 = 0x4b56_4d04;
    /// Host-side halt polling.
    pub const POLL_CONTROL: u32 = 0x4b56_4d05;
    /// Asynchronous page faults: vector.
    pub const ASYNC_PF_INT: u32 = 0x4b56_4d06;
}

/// Fixed-range memory types (SDM vol. 3, 12.11.2.2).
pub const MTRR_FIXED: [u32; 11] =
    [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];
/// First of the variable-range memory types: base and mask in turn, eight pairs (SDM vol. 3, 12.11.2.3).
pub const MTRR_VARIABLE: u32 = 0x200;
/// Machine-check status and control (SDM vol. 3, 16.3.1).
pub const MCG: [u32; 2] = [0x17a, 0x17b];
/// Speculation control (SDM vol. 4, table 2-2).
pub const SPEC_CTRL: u32 = 0x48;

/// The MSRs that make up a vCPU's state, in an order in which they can be set: what the timer depends on
/// comes before it. APIC base and EFER are part of [`SystemRegisters`](super::SystemRegisters).
pub fn saved() -> impl Iterator<Item = u32> {
    let system = [SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP, STAR, LSTAR, CSTAR, SYSCALL_MASK, KERNEL_GS_BASE];
    let memory_types =
        [PAT, MTRR_DEF_TYPE].into_iter().chain(MTRR_FIXED).chain(MTRR_VARIABLE..MTRR_VARIABLE + 16);
    let paravirtual = [
        kvm::WALL_CLOCK,
        kvm::SYSTEM_TIME,
        kvm::ASYNC_PF_INT,
        kvm::ASYNC_PF_EN,
        kvm::STEAL_TIME,
        kvm::PV_EOI_EN,
        kvm::POLL_CONTROL,
    ];
    let other = [TSC_AUX, MISC_ENABLE, SPEC_CTRL, XSS];
    [TSC_ADJUST, TSC]
        .into_iter()
        .chain(system)
        .chain(memory_types)
        .chain(MCG)
        .chain(other)
        .chain(paravirtual)
        .chain([TSC_DEADLINE])
}
