//! From whoever interrupts to the vCPUs that are interrupted.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use arch_model::x86_64::PlatformState;
use device_model::{Clock, MsiMessage, lock};
use vcpu_model::MAX_VCPUS;

use super::clock::GuestClock;
use super::ioapic::IoApic;
use super::lapic;
use super::mailbox::Mailbox;
use super::message::{DeliveryMode, Message};
use super::target::Destination;

/// What a VM has besides its vCPUs: their mailboxes, the I/O APIC, and the clock.
pub(crate) struct Platform {
    mailboxes: Box<[Arc<Mailbox>]>,
    ioapic: Mutex<IoApic>,
    clock: GuestClock,
    /// Where the search for the next lowest-priority target starts.
    next_target: AtomicU32,
}

impl Platform {
    /// For up to [`MAX_VCPUS`] vCPUs, all as after power-on, with a clock that starts now.
    pub(crate) fn new(vcpus: u32, host: Arc<dyn Clock>) -> Platform {
        let mailbox = |_| Arc::new(Mailbox::new(lapic::POWER_ON_TARGET));
        Platform {
            mailboxes: (0..vcpus.min(MAX_VCPUS)).map(mailbox).collect(),
            ioapic: Mutex::new(IoApic::new()),
            clock: GuestClock::new(host),
            next_target: AtomicU32::new(0),
        }
    }

    /// The shared half of vCPU `index`, which exists.
    #[inline(always)]
    pub(crate) fn mailbox(&self, index: usize) -> &Arc<Mailbox> {
        &self.mailboxes[index]
    }

    /// The shared halves of all vCPUs, by index.
    pub(crate) fn mailboxes(&self) -> &[Arc<Mailbox>] {
        &self.mailboxes
    }

    #[inline(always)]
    pub(crate) fn clock(&self) -> &GuestClock {
        &self.clock
    }

    /// Drives input `gsi` of the I/O APIC.
    pub(crate) fn set_irq(&self, gsi: u32, high: bool) {
        lock(&self.ioapic).set_line(gsi, high, &|message| self.deliver(message) != 0);
    }

    /// A load from the I/O APIC's register at `offset`.
    pub(crate) fn ioapic_read(&self, offset: u64) -> u32 {
        lock(&self.ioapic).read(offset)
    }

    /// A store to the I/O APIC's register at `offset`.
    pub(crate) fn ioapic_write(&self, offset: u64, value: u32) {
        lock(&self.ioapic).write(offset, value, &|message| self.deliver(message) != 0);
    }

    /// The level-triggered interrupt `vector` has ended at some local APIC.
    pub(crate) fn end_of_interrupt(&self, vector: u8) {
        lock(&self.ioapic).end_of_interrupt(vector, &|message| self.deliver(message) != 0);
    }

    /// Delivers a message-signalled interrupt. A message that means nothing reaches nobody, as on hardware.
    pub(crate) fn deliver_msi(&self, msi: MsiMessage) {
        if let Some(message) = Message::from_msi(msi) {
            self.deliver(&message);
        }
    }

    /// Delivers `message`. Returns how many vCPUs took it.
    pub(crate) fn deliver(&self, message: &Message) -> u32 {
        let mut targets = self.targets(message.destination);
        if message.mode == DeliveryMode::LowestPriority {
            targets = self.arbitrate(targets);
        }
        bits(targets).filter(|index| self.mailboxes[*index as usize].accept(message)).count() as u32
    }

    /// The vCPUs that `destination` means, a bit each.
    fn targets(&self, destination: Destination) -> u64 {
        let matches = |index: u32| match self.mailboxes.get(index as usize) {
            Some(mailbox) if mailbox.target().matches(index, destination) => 1 << index,
            _ => 0,
        };
        match destination {
            Destination::Physical(index) => matches(index),
            _ => (0..self.mailboxes.len() as u32).fold(0, |set, index| set | matches(index)),
        }
    }

    /// One of `targets` that takes fixed interrupts, each in its turn: priorities are not compared, as recent
    /// CPUs do not either (SDM vol. 3, 11.6.2.4).
    fn arbitrate(&self, targets: u64) -> u64 {
        let able = bits(targets)
            .filter(|index| self.mailboxes[*index as usize].target().accepts_fixed)
            .fold(0u64, |set, index| set | 1 << index);
        if able == 0 {
            return 0;
        }
        let start = self.next_target.load(Ordering::Relaxed) % u64::BITS;
        let chosen = (able.rotate_right(start).trailing_zeros() + start) % u64::BITS;
        self.next_target.store(chosen.wrapping_add(1), Ordering::Relaxed);
        1 << chosen
    }

    /// Whether all vCPUs' TSCs show the same.
    pub(crate) fn tsc_is_stable(&self) -> bool {
        let mut all = self.mailboxes.iter().map(|mailbox| mailbox.tsc());
        let first = all.next();
        all.all(|tsc| Some(tsc) == first)
    }

    /// State of the I/O APIC and the clock, which is held from now on. No vCPU runs.
    pub(crate) fn save(&self) -> PlatformState {
        PlatformState { ioapic: lock(&self.ioapic).save(), clock: self.clock.save() }
    }

    /// Takes over `state`, from this or another engine. No vCPU runs.
    pub(crate) fn restore(&self, state: &PlatformState) {
        let PlatformState { ioapic, clock } = state;
        lock(&self.ioapic).restore(ioapic, &|message| self.deliver(message) != 0);
        self.clock.restore(clock);
    }
}

/// The numbers of the bits that are set in `set`.
fn bits(set: u64) -> impl Iterator<Item = u32> {
    (0..u64::BITS).filter(move |bit| set >> bit & 1 == 1)
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;
