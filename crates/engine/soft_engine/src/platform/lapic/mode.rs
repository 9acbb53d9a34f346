//! IA32_APIC_BASE: where the local APIC is, and in which mode (SDM vol. 3, 11.12.1 and 11.12.5).
//!
//! ```text
//!            EN=1                EXTD=1
//!  disabled ───────► xAPIC ───────────────► x2APIC
//!     ▲ ▲   ◄───────                          │
//!     │       EN=0                            │
//!     └───────────────────────────────────────┘ EN=EXTD=0
//! ```
//!
//! Everything else is #GP: from disabled or back to xAPIC, and EXTD without EN.

use arch_model::x86_64::layout::LAPIC_BASE;

use super::registers::base;
use super::{GeneralProtection, Lapic};
use crate::memory::paging::PHYSICAL_BITS;
use crate::platform::target::x2apic_ldr;

/// How the guest reaches the local APIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ApicMode {
    /// Not at all; it neither sends nor receives.
    Disabled,
    /// By a page of registers.
    XApic,
    /// By MSRs.
    X2Apic,
}

impl ApicMode {
    /// `None` for the combination that does not exist.
    fn of(apic_base: u64) -> Option<ApicMode> {
        match (apic_base & base::ENABLE != 0, apic_base & base::EXTENDED != 0) {
            (false, false) => Some(ApicMode::Disabled),
            (true, false) => Some(ApicMode::XApic),
            (true, true) => Some(ApicMode::X2Apic),
            (false, true) => None,
        }
    }
}

/// The register after power-on.
pub(super) fn power_on(is_bsp: bool) -> u64 {
    LAPIC_BASE | base::ENABLE | if is_bsp { base::BSP } else { 0 }
}

impl Lapic {
    /// The mode that the APIC is in.
    pub(crate) fn mode(&self) -> ApicMode {
        ApicMode::of(self.apic_base).unwrap_or(ApicMode::Disabled)
    }

    /// Whether this is the bootstrap processor.
    pub(crate) fn is_bsp(&self) -> bool {
        self.apic_base & base::BSP != 0
    }

    /// IA32_APIC_BASE.
    pub(crate) fn apic_base(&self) -> u64 {
        self.apic_base
    }

    /// Guest-physical address of the register page, in xAPIC mode.
    #[inline(always)]
    pub(crate) fn mmio_base(&self) -> Option<u64> {
        let address = self.apic_base >> base::ADDRESS_SHIFT << base::ADDRESS_SHIFT;
        (self.apic_base & (base::ENABLE | base::EXTENDED) == base::ENABLE).then_some(address)
    }

    /// Writes IA32_APIC_BASE.
    pub(crate) fn set_apic_base(&mut self, value: u64) -> Result<(), GeneralProtection> {
        let beyond = value >> PHYSICAL_BITS != 0;
        if value & base::RESERVED != 0 || beyond {
            return Err(GeneralProtection);
        }
        let to = ApicMode::of(value).ok_or(GeneralProtection)?;
        match (self.mode(), to) {
            (ApicMode::Disabled, ApicMode::X2Apic) | (ApicMode::X2Apic, ApicMode::XApic) => {
                return Err(GeneralProtection);
            }
            (from, ApicMode::Disabled) if from != ApicMode::Disabled => {
                self.apic_base = value;
                // A disabled APIC forgets what it was set up for.
                self.init();
            }
            (ApicMode::XApic, ApicMode::X2Apic) => {
                self.ldr = x2apic_ldr(self.id);
                self.icr = 0;
            }
            _ => {}
        }
        self.apic_base = value;
        self.publish();
        Ok(())
    }
}
