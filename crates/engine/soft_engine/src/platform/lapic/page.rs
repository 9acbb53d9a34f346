//! The register page of xAPIC mode, and what it has in common with the MSRs of x2APIC mode.

use super::Lapic;
use super::registers::{
    DFR_MODEL_SHIFT, DIVIDE_WRITABLE, ID_SHIFT, LDR_WRITABLE, VERSION, esr, icr, index, lvt,
};

/// The register's index, for offsets at which there may be one.
fn register_at(offset: u64) -> Option<usize> {
    (offset.is_multiple_of(16) && offset < 0x1000).then_some((offset / 16) as usize)
}

impl Lapic {
    /// A 32-bit load from `offset` in the page. Offsets between registers read as zero.
    pub(crate) fn read(&mut self, offset: u64) -> u32 {
        let Some(register) = register_at(offset) else { return 0 };
        match register {
            index::ID => self.id << ID_SHIFT,
            index::APR | index::RRD | index::EOI => 0,
            index::DFR => self.dfr,
            index::ICR => self.icr as u32,
            index::ICR_HIGH => (self.icr >> 32) as u32,
            _ => self.read_register(register).unwrap_or_else(|| {
                self.raise_error(esr::ILLEGAL_REGISTER);
                0
            }),
        }
    }

    /// A 32-bit store to `offset` in the page. Read-only registers and offsets between registers ignore it.
    pub(crate) fn write(&mut self, offset: u64, value: u32) {
        let Some(register) = register_at(offset) else { return };
        match register {
            index::LDR => self.ldr = value & LDR_WRITABLE,
            index::DFR => self.dfr = value | ((1 << DFR_MODEL_SHIFT) - 1),
            index::ICR => return self.write_icr(self.icr & !icr::LOW | u64::from(value)),
            index::ICR_HIGH => {
                self.icr = self.icr & icr::LOW | u64::from(value) << 32 & icr::NARROW_DESTINATION;
            }
            index::ID | index::APR | index::RRD => {}
            _ if self.write_register(register, value) => {}
            _ if self.read_register(register).is_some() => {}
            _ => self.raise_error(esr::ILLEGAL_REGISTER),
        }
        if matches!(register, index::LDR | index::DFR) {
            self.publish();
        }
    }

    /// Registers that read the same in both modes. `None` is reserved.
    pub(super) fn read_register(&self, register: usize) -> Option<u32> {
        Some(match register {
            index::VERSION => VERSION,
            index::TPR => self.tpr.into(),
            index::PPR => self.ppr().into(),
            index::LDR => self.ldr,
            index::SVR => self.svr,
            index::ISR..=index::ISR_END => self.isr.0[register - index::ISR],
            index::TMR..=index::TMR_END => self.mailbox.tmr.word(register - index::TMR),
            index::IRR..=index::IRR_END => self.mailbox.irr.word(register - index::IRR),
            index::ESR => self.esr,
            index::LVT..=index::LVT_END => self.lvt[register - index::LVT],
            index::TIMER_INITIAL => self.timer.initial(),
            index::TIMER_CURRENT => self.timer.current(self.now_ns()),
            index::TIMER_DIVIDE => self.timer.divide(),
            _ => return None,
        })
    }

    /// Registers that are written the same way in both modes. False for all others.
    pub(super) fn write_register(&mut self, register: usize, value: u32) -> bool {
        // What is due by now is due under the old rules.
        self.poll_timer();
        let now_ns = self.now_ns();
        match register {
            index::TPR => self.tpr = value as u8,
            index::EOI => self.end_of_interrupt(),
            index::SVR => self.write_svr(value),
            index::ESR => {
                self.poll_errors();
                self.esr = std::mem::take(&mut self.errors);
            }
            index::LVT..=index::LVT_END => self.write_lvt(register - index::LVT, value),
            index::TIMER_INITIAL => self.timer.start(value, now_ns),
            index::TIMER_DIVIDE => self.timer.set_divide(value & DIVIDE_WRITABLE, now_ns),
            _ => return false,
        }
        true
    }
}

const _: () = assert!(index::LVT_END - index::LVT + 1 == lvt::COUNT);
