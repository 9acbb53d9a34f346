//! The state in which vCPU 0 enters a kernel.

use arch_model::x86_64::layout::LAPIC_BASE;
use arch_model::x86_64::{Registers, SystemRegisters};
use guest_memory::Slots;

use crate::LoadError;
use crate::boot_data::{code_segment, data_segment, no_local_table, task_segment, write_gdt};

/// The registers that a boot protocol sets. The rest of vCPU 0 is as after power-on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InitialState {
    /// General-purpose registers, RIP and RFLAGS.
    pub registers: Registers,
    /// Segments, control registers, descriptor tables.
    pub system: SystemRegisters,
}

/// 32-bit protected mode with flat segments, without paging, as PVH, Multiboot and Linux's 32-bit entry have it.
pub(crate) fn protected_mode(memory: &Slots) -> Result<SystemRegisters, LoadError> {
    let data = data_segment();
    Ok(SystemRegisters {
        cs: code_segment(false),
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        tr: task_segment(),
        ldt: no_local_table(),
        gdt: write_gdt(memory, false)?,
        cr0: CR0_BASE,
        apic_base: APIC_BASE_BOOT,
        ..SystemRegisters::default()
    })
}

/// CR0: protection on, and ET, which is always one (SDM vol. 3, 2.5).
pub(crate) const CR0_BASE: u64 = 1 << 0 | 1 << 4;
/// CR0: paging on.
pub(crate) const CR0_PAGING: u64 = 1 << 31;
/// CR4: physical address extension (SDM vol. 3, 2.5).
pub(crate) const CR4_PAE: u64 = 1 << 5;
/// EFER: long mode enabled and active (SDM vol. 3, 2.2.1).
pub(crate) const EFER_LONG_MODE: u64 = 1 << 8 | 1 << 10;
/// RFLAGS: bit 1 is always one (SDM vol. 1, 3.4.3).
pub(crate) const RFLAGS_FIXED: u64 = 1 << 1;
/// IA32_APIC_BASE of the bootstrap processor: enabled, at its usual place (SDM vol. 3, 11.4.4).
pub(crate) const APIC_BASE_BOOT: u64 = LAPIC_BASE | 1 << 8 | 1 << 11;
