//! Control registers, EFER, and what follows from their changes (SDM vol. 3, 2.5 and 4.10.4).

use super::mode::{cr0, cr4, efer};
use super::{Core, Exec, gpr};

/// PCIDs are 12 bits.
const PCID: u64 = 0xfff;
/// Of XCR0: SSE and AVX state.
const XCR0_AVX: u64 = 6;
/// CR3 as an operand: do not forget translations.
const NO_FLUSH: u64 = 1 << 63;

impl Core<'_> {
    /// Whether the operating system has enabled AVX in this mode (SDM vol. 1, 14.3).
    pub fn has_avx_enabled(&self) -> bool {
        self.mode.is_protected() && self.cr4 & cr4::OSXSAVE != 0 && self.xcr0 & XCR0_AVX == XCR0_AVX
    }

    /// CR4 bits that can be set: those of features this vCPU has.
    fn cr4_defined(&self) -> u64 {
        let shared = self.shared;
        let when = |on: bool, bit: u64| if on { bit } else { 0 };
        let leaf1 = shared.cpuid_words.leaf1_ecx;
        let leaf7 = shared.cpuid_words.leaf7_ebx;
        cr4::TSD
            | cr4::DE
            | cr4::PSE
            | cr4::PAE
            | cr4::MCE
            | cr4::PGE
            | cr4::PCE
            | cr4::OSFXSR
            | cr4::OSXMMEXCPT
            | when(leaf1 >> 17 & 1 == 1, cr4::PCIDE)
            | when(leaf1 >> 26 & 1 == 1, cr4::OSXSAVE)
            | when(leaf7 & 1 == 1, cr4::FSGSBASE)
            | when(leaf7 >> 7 & 1 == 1, cr4::SMEP)
            | when(leaf7 >> 20 & 1 == 1, cr4::SMAP)
            | when(shared.cpuid_words.leaf7_ecx >> 2 & 1 == 1, cr4::UMIP)
    }

    /// MOV to CR0 (SDM vol. 3, 2.5 and 10.8.5).
    pub fn set_cr0(&mut self, value: u64) -> Exec {
        let illegal = value >> 32 != 0
            || (value & cr0::PG != 0 && value & cr0::PE == 0)
            || (value & cr0::NW != 0 && value & cr0::CD == 0);
        if illegal {
            return self.general_protection(0);
        }
        let value = value & cr0::DEFINED | cr0::ET;
        let changed = self.cr0 ^ value;
        if changed & cr0::PG != 0 && self.efer & efer::LME != 0 {
            if value & cr0::PG != 0 {
                if self.cr4 & cr4::PAE == 0 || self.segments[super::seg::CS].long {
                    return self.general_protection(0);
                }
                self.cpu.efer |= efer::LMA;
            } else {
                if self.segments[super::seg::CS].long || self.cr4 & cr4::PCIDE != 0 {
                    return self.general_protection(0);
                }
                self.cpu.efer &= !efer::LMA;
            }
        }
        self.cpu.cr0 = value;
        if changed & (cr0::PG | cr0::WP | cr0::PE) != 0 {
            self.translations.flush();
        }
        self.after_mode_change();
        Ok(())
    }

    /// MOV to CR3.
    pub fn set_cr3(&mut self, value: u64) -> Exec {
        let pcids = self.cr4 & cr4::PCIDE != 0;
        let keep = pcids && value & NO_FLUSH != 0;
        let value = if pcids { value & !NO_FLUSH } else { value };
        if self.is_long_mode() && value >> crate::memory::paging::PHYSICAL_BITS != 0 {
            return self.general_protection(0);
        }
        self.cpu.cr3 = value;
        self.update_address_space(keep);
        Ok(())
    }

    /// MOV to CR4.
    pub fn set_cr4(&mut self, value: u64) -> Exec {
        let changed = self.cr4 ^ value;
        let illegal = value & !self.cr4_defined() != 0
            || (self.is_long_mode() && value & cr4::PAE == 0)
            || (changed & value & cr4::PCIDE != 0 && (!self.is_long_mode() || self.cr3 & PCID != 0));
        if illegal {
            return self.general_protection(0);
        }
        self.cpu.cr4 = value;
        let paging = cr4::PSE | cr4::PAE | cr4::PGE | cr4::PCIDE | cr4::SMEP | cr4::SMAP;
        if changed & paging != 0 {
            self.translations.flush();
            self.update_address_space(false);
        }
        self.after_mode_change();
        Ok(())
    }

    /// WRMSR to EFER (SDM vol. 4, table 2-2).
    pub fn set_efer(&mut self, value: u64) -> Exec {
        let settable = efer::SCE | efer::LME | efer::NXE;
        let changed = self.efer ^ value;
        if value & !(settable | efer::LMA) != 0 || (changed & efer::LME != 0 && self.cr0 & cr0::PG != 0) {
            return self.general_protection(0);
        }
        self.cpu.efer = value & settable | self.efer & efer::LMA;
        if changed & efer::NXE != 0 {
            self.translations.flush();
        }
        Ok(())
    }

    /// MOV to CR8.
    pub fn set_cr8(&mut self, value: u64) -> Exec {
        if value > 0xf {
            return self.general_protection(0);
        }
        self.lapic.set_cr8(value as u8);
        self.attention = true;
        Ok(())
    }

    /// The translations that belong to CR3 now.
    pub fn update_address_space(&mut self, keep: bool) {
        let pcid = if self.cr4 & cr4::PCIDE != 0 { self.cr3 & PCID } else { 0 };
        self.translations.switch(pcid as u16, keep);
    }

    /// INVLPG.
    pub fn invalidate_page(&mut self, address: u64) {
        self.translations.flush_address(address);
    }

    /// INVPCID (SDM vol. 2A).
    pub fn invalidate_pcid(&mut self, kind: u64, descriptor: [u64; 2]) -> Exec {
        let [pcid, address] = descriptor;
        let canonical = (address as i64) << 16 >> 16 == address as i64;
        let illegal = kind > 3
            || (kind < 2 && pcid >> 12 != 0)
            || (kind == 0 && !canonical)
            || (kind < 2 && self.cr4 & cr4::PCIDE == 0 && pcid != 0);
        if illegal {
            return self.general_protection(0);
        }
        match kind {
            0 => self.translations.flush_address(address),
            1 => self.translations.flush_space(pcid as u16),
            2 => self.translations.flush(),
            _ => self.translations.flush_local(),
        }
        Ok(())
    }

    fn after_mode_change(&mut self) {
        self.update_mode();
        self.attention = true;
        // A vCPU that leaves 64-bit mode goes on with 32-bit addresses.
        let mask = self.mode.rip_mask();
        self.cpu.gpr[gpr::NEXT_RIP] &= mask;
    }
}
