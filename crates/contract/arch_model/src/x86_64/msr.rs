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
