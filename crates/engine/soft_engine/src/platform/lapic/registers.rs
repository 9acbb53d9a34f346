//! The local APIC's registers and their bits (SDM vol. 3, 11.4.1, and 11.12.1.2 for x2APIC).

/// Registers by their index: the offset in the page divided by 16, and the number after 0x800 of the MSR.
pub(super) mod index {
    pub(in super::super) const ID: usize = 0x02;
    pub(in super::super) const VERSION: usize = 0x03;
    pub(in super::super) const TPR: usize = 0x08;
    pub(in super::super) const APR: usize = 0x09;
    pub(in super::super) const PPR: usize = 0x0a;
    pub(in super::super) const EOI: usize = 0x0b;
    pub(in super::super) const RRD: usize = 0x0c;
    pub(in super::super) const LDR: usize = 0x0d;
    pub(in super::super) const DFR: usize = 0x0e;
    pub(in super::super) const SVR: usize = 0x0f;
    pub(in super::super) const ISR: usize = 0x10;
    pub(in super::super) const ISR_END: usize = 0x17;
    pub(in super::super) const TMR: usize = 0x18;
    pub(in super::super) const TMR_END: usize = 0x1f;
    pub(in super::super) const IRR: usize = 0x20;
    pub(in super::super) const IRR_END: usize = 0x27;
    pub(in super::super) const ESR: usize = 0x28;
    pub(in super::super) const ICR: usize = 0x30;
    pub(in super::super) const ICR_HIGH: usize = 0x31;
    pub(in super::super) const LVT: usize = 0x32;
    pub(in super::super) const LVT_END: usize = 0x37;
    pub(in super::super) const TIMER_INITIAL: usize = 0x38;
    pub(in super::super) const TIMER_CURRENT: usize = 0x39;
    pub(in super::super) const TIMER_DIVIDE: usize = 0x3e;
    pub(in super::super) const SELF_IPI: usize = 0x3f;
}

/// Registers of the page, and MSRs that stand for them.
pub(super) const REGISTERS: usize = 0x40;
/// First MSR of the x2APIC.
pub(super) const FIRST_MSR: u32 = 0x800;

/// Version 0x14 with six local vectors and no suppression of EOI broadcasts, as KVM's (SDM vol. 3, 11.4.8).
pub(super) const VERSION: u32 = 0x14 | 5 << 16;
/// Where the ID is in xAPIC mode and, whatever the mode, in saved states.
pub(super) const ID_SHIFT: u32 = 24;

/// Spurious vector register (SDM vol. 3, 11.9).
pub(super) mod svr {
    pub(in super::super) const ENABLE: u32 = 1 << 8;
    /// Vector, enable, focus checking.
    pub(in super::super) const WRITABLE: u32 = 0x3ff;
    pub(in super::super) const RESET: u32 = 0xff;
}

/// Local vector table (SDM vol. 3, 11.5.1), in the order of its registers.
pub(super) mod lvt {
    pub(in super::super) const TIMER: usize = 0;
    pub(in super::super) const ERROR: usize = 5;
    pub(in super::super) const COUNT: usize = 6;
    pub(in super::super) const MASKED: u32 = 1 << 16;
    /// What can be written of timer, thermal, performance, LINT0, LINT1 and error: not the delivery status
    /// (bit 12) nor the remote IRR (bit 14), which are always clear here.
    pub(in super::super) const WRITABLE: [u32; COUNT] =
        [0x7_00ff, 0x1_07ff, 0x1_07ff, 0x1_a7ff, 0x1_a7ff, 0x1_00ff];
    pub(in super::super) const TIMER_MODE_SHIFT: u32 = 17;
}

/// Error status register (SDM vol. 3, 11.5.3).
pub(super) mod esr {
    pub(in super::super) const SEND_ILLEGAL_VECTOR: u32 = 1 << 5;
    pub(in super::super) const RECEIVED_ILLEGAL_VECTOR: u32 = 1 << 6;
    pub(in super::super) const ILLEGAL_REGISTER: u32 = 1 << 7;
}

/// Destination format: the flat model; bits 27:0 read as ones (SDM vol. 3, 11.6.2.2).
pub(super) const DFR_RESET: u32 = u32::MAX;
pub(super) const DFR_MODEL_SHIFT: u32 = 28;
pub(super) const LDR_WRITABLE: u32 = 0xff00_0000;
pub(super) const DIVIDE_WRITABLE: u32 = 0xb;

/// Interrupt command register (SDM vol. 3, 11.6.1 and 11.12.9).
pub(super) mod icr {
    /// Delivery status: nothing is ever on its way here.
    pub(in super::super) const BUSY: u64 = 1 << 12;
    /// Bits 13, 17:16 and 31:20.
    pub(in super::super) const RESERVED: u64 = 0xfff3_2000;
    /// The destination in xAPIC mode.
    pub(in super::super) const NARROW_DESTINATION: u64 = 0xff << 56;
    pub(in super::super) const LOW: u64 = 0xffff_ffff;
}

/// IA32_APIC_BASE (SDM vol. 3, 11.4.4 and 11.12.1).
pub(super) mod base {
    pub(in super::super) const BSP: u64 = 1 << 8;
    pub(in super::super) const EXTENDED: u64 = 1 << 10;
    pub(in super::super) const ENABLE: u64 = 1 << 11;
    /// Bits 7:0 and 9.
    pub(in super::super) const RESERVED: u64 = 0x2ff;
    pub(in super::super) const ADDRESS_SHIFT: u32 = 12;
}
