//! Saving and restoring, in KVM's layout (API 4.57): a register each 16 bytes. In x2APIC mode the ID is where
//! it is in xAPIC mode (KVM without `KVM_CAP_X2APIC_API`), and the ICR's upper half is at its xAPIC place.
//!
//! Not part of that layout, and lost: errors that the guest has not latched. The TSC deadline is an MSR of
//! its own.

use arch_model::x86_64::LapicState;

use super::registers::{ID_SHIFT, REGISTERS, index, lvt, svr};
use super::timer::Timer;
use super::{ApicMode, DFR_RESET, Lapic, x2apic_ldr};
use super::{
    icr,
    registers::{DIVIDE_WRITABLE, LDR_WRITABLE},
};
use crate::platform::mailbox::Request;
use crate::platform::vectors::{Vectors, WORDS};

impl Lapic {
    /// All registers at this moment.
    pub(crate) fn save(&self) -> LapicState {
        let mut registers: Vec<u32> =
            (0..REGISTERS).map(|register| self.read_register(register).unwrap_or(0)).collect();
        registers[index::ID] = self.id << ID_SHIFT;
        registers[index::DFR] = self.dfr;
        registers[index::ICR] = self.icr as u32;
        registers[index::ICR_HIGH] = (self.icr >> 32) as u32;
        LapicState { registers }
    }

    /// Takes over IA32_APIC_BASE and the registers. The mode says how the registers are meant. An empty state
    /// is that of an APIC after INIT. Registers that cannot be written keep their values.
    pub(crate) fn restore(&mut self, state: &LapicState, apic_base: u64) {
        self.apic_base = apic_base;
        self.init();
        if state.registers.is_empty() {
            return;
        }
        let register = |index: usize| state.registers.get(index).copied().unwrap_or(0);
        let vectors = |first: usize| {
            let mut set = [0; WORDS];
            set.iter_mut().enumerate().for_each(|(word, bits)| *bits = register(first + word));
            Vectors(set)
        };
        self.tpr = register(index::TPR) as u8;
        self.svr = register(index::SVR) & svr::WRITABLE;
        self.esr = register(index::ESR);
        self.isr = vectors(index::ISR);
        self.mailbox.tmr.store(vectors(index::TMR));
        self.mailbox.irr.store(vectors(index::IRR));
        self.icr = u64::from(register(index::ICR)) | u64::from(register(index::ICR_HIGH)) << 32;
        self.icr &= !(icr::BUSY | icr::RESERVED);
        for (entry, value) in self.lvt.iter_mut().enumerate() {
            *value = register(index::LVT + entry) & lvt::WRITABLE[entry];
        }
        if self.mode() == ApicMode::X2Apic {
            (self.ldr, self.dfr) = (x2apic_ldr(self.id), DFR_RESET);
        } else {
            (self.ldr, self.dfr) = (register(index::LDR) & LDR_WRITABLE, register(index::DFR));
        }
        self.timer = Timer::restore(
            self.lvt[lvt::TIMER] >> lvt::TIMER_MODE_SHIFT,
            register(index::TIMER_INITIAL),
            register(index::TIMER_CURRENT),
            register(index::TIMER_DIVIDE) & DIVIDE_WRITABLE,
            self.now_ns(),
        );
        self.publish();
        self.mailbox.post(Request::INTERRUPT);
    }
}
