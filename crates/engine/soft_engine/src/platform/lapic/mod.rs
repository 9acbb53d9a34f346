//! The local APIC (SDM vol. 3, ch. 11) of one vCPU, as KVM offers it: version 0x14, six local vectors.
//!
//! Owned by the thread that runs the vCPU. IRR and TMR are in the [`Mailbox`], where senders change them.
//! Whoever changes something here (a register, CR8, the timer) looks at [`Lapic::pending_vector`] and
//! [`Lapic::deadline_ns`] again afterwards.

mod mode;
mod msr;
mod page;
mod registers;
mod state;
mod timer;

use std::sync::Arc;

use super::mailbox::{FIRST_VECTOR, Mailbox};
use super::message::Message;
use super::router::Platform;
use super::target::{Target, x2apic_ldr};
use super::tsc::Tsc;
use super::vectors::Vectors;
pub(crate) use mode::ApicMode;
use registers::{DFR_MODEL_SHIFT, DFR_RESET, base as base_bits, esr, icr, lvt, svr};
use timer::Timer;

/// The access raises #GP(0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GeneralProtection;

/// How senders see a local APIC after power-on.
pub(super) const POWER_ON_TARGET: Target =
    Target { ldr: 0, model: 0xf, enabled: true, accepts_fixed: false, x2apic: false };

/// The local APIC. A copy of it shares the mailbox; only one of them is used.
#[derive(Clone)]
pub(crate) struct Lapic {
    /// APIC ID, which is the vCPU's index.
    id: u32,
    platform: Arc<Platform>,
    mailbox: Arc<Mailbox>,
    apic_base: u64,
    tpr: u8,
    ldr: u32,
    dfr: u32,
    svr: u32,
    isr: Vectors,
    /// Errors as the guest reads them.
    esr: u32,
    /// Errors since the guest last wrote the register.
    errors: u32,
    icr: u64,
    lvt: [u32; lvt::COUNT],
    timer: Timer,
    /// The vCPU's TSC.
    tsc: Tsc,
}

impl Lapic {
    /// The local APIC of vCPU `index` of `platform`, after power-on. vCPU 0 is the bootstrap processor.
    pub(crate) fn new(platform: Arc<Platform>, index: usize) -> Lapic {
        let mut lapic = Lapic {
            id: index as u32,
            mailbox: Arc::clone(platform.mailbox(index)),
            platform,
            apic_base: 0,
            tpr: 0,
            ldr: 0,
            dfr: DFR_RESET,
            svr: svr::RESET,
            isr: Vectors::default(),
            esr: 0,
            errors: 0,
            icr: 0,
            lvt: [lvt::MASKED; lvt::COUNT],
            timer: Timer::default(),
            tsc: Tsc::default(),
        };
        lapic.reset();
        lapic
    }

    /// Power-on (SDM vol. 3, 11.4.7.1).
    pub(crate) fn reset(&mut self) {
        self.apic_base = mode::power_on(self.id == 0);
        self.init();
    }

    /// INIT: as power-on, but mode, address and ID stay (SDM vol. 3, 11.4.7.3 and 11.12.5.1).
    pub(crate) fn init(&mut self) {
        self.tpr = 0;
        self.ldr = if self.mode() == ApicMode::X2Apic { x2apic_ldr(self.id) } else { 0 };
        self.dfr = DFR_RESET;
        self.svr = svr::RESET;
        self.isr = Vectors::default();
        (self.esr, self.errors) = (0, 0);
        self.icr = 0;
        self.lvt = [lvt::MASKED; lvt::COUNT];
        self.timer = Timer::default();
        self.publish();
        self.mailbox.irr.store(Vectors::default());
        self.mailbox.tmr.store(Vectors::default());
        self.mailbox.take_errors();
    }

    /// The highest vector that is requested and may interrupt now (SDM vol. 3, 11.8.3.1).
    pub(crate) fn pending_vector(&self) -> Option<u8> {
        let vector = self.mailbox.irr.highest()?;
        (self.mode() != ApicMode::Disabled && vector >> 4 > self.ppr() >> 4).then_some(vector)
    }

    /// Acknowledges [`pending_vector`](Lapic::pending_vector): it is in service from now on.
    pub(crate) fn accept(&mut self) -> Option<u8> {
        let vector = self.pending_vector()?;
        self.mailbox.irr.remove(vector);
        self.isr.insert(vector);
        Some(vector)
    }

    /// Whether a vCPU in HLT with interrupts enabled has to go on.
    pub(crate) fn has_work(&self) -> bool {
        self.pending_vector().is_some()
    }

    /// Processor priority (SDM vol. 3, 11.8.3.1).
    fn ppr(&self) -> u8 {
        let in_service = self.isr.highest().unwrap_or(0) & 0xf0;
        if self.tpr & 0xf0 >= in_service { self.tpr } else { in_service }
    }

    /// CR8: the task priority's upper half (SDM vol. 3, 11.8.6).
    pub(crate) fn cr8(&self) -> u8 {
        self.tpr >> 4
    }

    /// Writes CR8, of which only bits 3:0 exist.
    pub(crate) fn set_cr8(&mut self, value: u8) {
        self.tpr = value << 4;
    }

    /// End of interrupt (SDM vol. 3, 11.8.5): what is in service with the highest priority is done, and the
    /// I/O APIC hears of it if it was level-triggered.
    fn end_of_interrupt(&mut self) {
        if let Some(vector) = self.isr.highest() {
            self.isr.remove(vector);
            if self.mailbox.tmr.contains(vector) {
                self.platform.end_of_interrupt(vector);
            }
        }
    }

    /// Sends what the ICR says.
    fn send_ipi(&mut self) {
        let wide = self.mode() == ApicMode::X2Apic;
        let Some(message) = Message::from_icr(self.icr, self.id, wide) else { return };
        if message.mode.has_vector() && message.vector < FIRST_VECTOR {
            self.raise_error(esr::SEND_ILLEGAL_VECTOR);
        } else {
            self.platform.deliver(&message);
        }
    }

    /// Writes the ICR's lower half or all of it, and sends.
    fn write_icr(&mut self, value: u64) {
        self.icr = value & !(icr::BUSY | icr::RESERVED);
        self.send_ipi();
    }

    /// Writes an entry of the local vector table. While the APIC is disabled, all of them are masked
    /// (SDM vol. 3, 11.4.7.2).
    fn write_lvt(&mut self, entry: usize, value: u32) {
        let masked = if self.svr & svr::ENABLE == 0 { lvt::MASKED } else { 0 };
        self.lvt[entry] = value & lvt::WRITABLE[entry] | masked;
        if entry == lvt::TIMER {
            self.timer.set_mode(value >> lvt::TIMER_MODE_SHIFT);
        }
    }

    fn write_svr(&mut self, value: u32) {
        self.svr = value & svr::WRITABLE;
        if self.svr & svr::ENABLE == 0 {
            self.lvt.iter_mut().for_each(|entry| *entry |= lvt::MASKED);
        }
        self.publish();
    }

    /// Notes an error and interrupts if the guest wants to know (SDM vol. 3, 11.5.3).
    fn raise_error(&mut self, error: u32) {
        self.errors |= error;
        self.interrupt_locally(lvt::ERROR);
    }

    /// Takes in the errors that senders have noted. Part of looking at
    /// [`Request::INTERRUPT`](super::Request::INTERRUPT).
    pub(crate) fn poll_errors(&mut self) {
        match self.mailbox.take_errors() {
            0 => {}
            errors => self.raise_error(errors),
        }
    }

    /// Requests the vector of a local source, which is always fixed and an edge here.
    fn interrupt_locally(&mut self, entry: usize) {
        let entry = self.lvt[entry];
        if entry & lvt::MASKED != 0 {
            return;
        }
        match entry as u8 {
            vector @ FIRST_VECTOR.. => {
                self.mailbox.interrupt(vector, false);
            }
            _ => self.errors |= esr::RECEIVED_ILLEGAL_VECTOR,
        }
    }

    /// Interrupts if the timer is due. Returns whether it was.
    pub(crate) fn poll_timer(&mut self) -> bool {
        let due = self.timer.expire(self.now_ns());
        if due {
            self.interrupt_locally(lvt::TIMER);
        }
        due
    }

    /// What [the clock](super::clock::GuestClock) shows, in nanoseconds, when the timer is due; none if it then
    /// interrupts nobody.
    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        self.timer.deadline_ns().filter(|_| self.lvt[lvt::TIMER] & lvt::MASKED == 0)
    }

    /// IA32_TSC_DEADLINE (SDM vol. 3, 11.5.4.1): zero once the timer has been found due.
    pub(crate) fn tsc_deadline(&self) -> u64 {
        self.timer.tsc_deadline()
    }

    /// Writes IA32_TSC_DEADLINE, which does nothing in other timer modes.
    pub(crate) fn set_tsc_deadline(&mut self, value: u64) {
        self.poll_timer();
        self.timer.set_tsc_deadline(value, self.now_ns(), &self.tsc);
    }

    /// The vCPU's TSC is `tsc` from now on. The deadline is one of the TSC, and others want to know whether all TSCs
    /// agree, so this has to be told at each change.
    pub(crate) fn set_tsc(&mut self, tsc: Tsc) {
        self.poll_timer();
        let deadline = self.tsc_deadline();
        self.tsc = tsc;
        self.mailbox.publish_tsc(tsc);
        if deadline != 0 {
            self.set_tsc_deadline(deadline);
        }
    }

    /// Sleeps until something is posted to this vCPU or its timer is due.
    pub(crate) fn sleep(&self) {
        self.mailbox.sleep_until(self.deadline_ns(), self.platform.clock());
    }

    fn now_ns(&self) -> u64 {
        self.platform.clock().now_ns()
    }

    /// Lets senders know what they have to.
    fn publish(&self) {
        self.mailbox.publish_target(Target {
            ldr: self.ldr,
            model: (self.dfr >> DFR_MODEL_SHIFT) as u8,
            enabled: self.apic_base & base_bits::ENABLE != 0,
            accepts_fixed: self.svr & svr::ENABLE != 0,
            x2apic: self.mode() == ApicMode::X2Apic,
        });
    }
}

#[cfg(test)]
mod tests;
