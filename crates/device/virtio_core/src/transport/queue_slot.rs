//! One queue as the transport keeps it: the registers that describe it, and whether it runs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use device_model::EventFd;
use guest_memory::{GuestAddress, GuestMemory};
use host_sys::poll::new_event;
use serde::{Deserialize, Serialize};

use super::spec::{
    QUEUE_AVAILABLE, QUEUE_DESCRIPTORS, QUEUE_ENABLE, QUEUE_NOTIFY_DATA, QUEUE_SIZE, QUEUE_USED,
};
use crate::{Queue, QueueInterrupt, QueueLayout, QueueResources, QueueState, StartError};

/// A queue's registers (4.1.4.3) and where it stands while it does not run. Also its saved form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct QueueSetup {
    pub(super) size: u16,
    pub(super) enabled: bool,
    pub(super) descriptors: u64,
    pub(super) available: u64,
    pub(super) used: u64,
    state: QueueState,
}

impl QueueSetup {
    fn new(max_size: u16) -> QueueSetup {
        let (size, state) = (max_size, QueueState::default());
        QueueSetup { size, enabled: false, descriptors: 0, available: 0, used: 0, state }
    }

    fn layout(&self) -> QueueLayout {
        QueueLayout {
            size: self.size,
            descriptors: GuestAddress(self.descriptors),
            available: GuestAddress(self.available),
            used: GuestAddress(self.used),
        }
    }
}

/// A queue and what lasts for the transport's life.
pub(super) struct QueueSlot {
    max_size: u16,
    setup: QueueSetup,
    running: bool,
    kick: EventFd,
    served: Arc<AtomicU64>,
}

impl QueueSlot {
    /// A queue of at most `max_size` descriptors.
    pub(super) fn new(max_size: u16) -> io::Result<QueueSlot> {
        let (setup, kick, served) = (QueueSetup::new(max_size), new_event()?, Arc::default());
        Ok(QueueSlot { max_size, setup, running: false, kick, served })
    }

    /// The registers.
    pub(super) fn setup(&self) -> &QueueSetup {
        &self.setup
    }

    /// Signalled at each notification by the driver.
    pub(super) fn kick(&self) -> &EventFd {
        &self.kick
    }

    /// Counter of completed chains.
    pub(super) fn served(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.served)
    }

    /// Whether the device serves the queue.
    pub(super) fn is_running(&self) -> bool {
        self.running
    }

    /// Whether the queue is enabled and does not run yet.
    pub(super) fn is_startable(&self) -> bool {
        self.setup.enabled && !self.running
    }

    /// The driver's write of `len` bytes to one of the queue's registers; `register` counts from the start of
    /// common configuration. Once enabled a queue stays as it is until reset (4.1.4.3.2).
    pub(super) fn write(&mut self, register: u64, len: usize, value: u64) {
        if self.setup.enabled {
            return;
        }
        let QueueSetup { size, enabled, descriptors, available, used, state: _ } = &mut self.setup;
        match (register, len) {
            (QUEUE_SIZE, 2) => {
                let wanted = value as u16;
                if wanted.is_power_of_two() && wanted <= self.max_size {
                    *size = wanted;
                }
            }
            (QUEUE_ENABLE, 2) => *enabled = value == 1,
            (QUEUE_DESCRIPTORS..QUEUE_AVAILABLE, 4 | 8) => set_part(descriptors, register, len, value),
            (QUEUE_AVAILABLE..QUEUE_USED, 4 | 8) => set_part(available, register, len, value),
            (QUEUE_USED..QUEUE_NOTIFY_DATA, 4 | 8) => set_part(used, register, len, value),
            _ => {}
        }
    }

    /// What the device needs to serve the queue. Fails where the driver placed the ring badly or the host is
    /// out of descriptors.
    pub(super) fn resources(
        &self,
        features: u64,
        memory: GuestMemory,
        interrupt: Arc<dyn QueueInterrupt>,
    ) -> Result<QueueResources, StartError> {
        let layout = self.setup.layout();
        let mut queue = Queue::new(layout, self.max_size, self.setup.state, features, memory, interrupt)
            .map_err(|_| StartError::Protocol("the driver placed the ring outside memory or misaligned"))?;
        queue.count_in(self.served());
        let kick = self.kick.try_clone().map_err(StartError::Worker)?;
        Ok(QueueResources { queue, kick })
    }

    /// The device serves the queue now.
    pub(super) fn started(&mut self) {
        self.running = true;
    }

    /// The device serves the queue no more. A queue whose `state` was lost cannot go on: it is disabled.
    pub(super) fn stopped(&mut self, state: Option<QueueState>) {
        self.running = false;
        self.setup.enabled = state.is_some();
        self.setup.state = state.unwrap_or_default();
    }

    /// Forgets the driver. The queue does not run.
    pub(super) fn reset(&mut self) {
        self.setup = QueueSetup::new(self.max_size);
        // Kicks for the previous driver are not for the next; EAGAIN means that there were none.
        let _ = self.kick.read();
    }

    /// Whether `setup` can have been reached by a driver of this queue, for state from a file.
    pub(super) fn accepts(&self, setup: &QueueSetup) -> bool {
        setup.size.is_power_of_two() && setup.size <= self.max_size
    }

    /// Takes over saved registers that [`accepts`](QueueSlot::accepts) allows. The queue does not run.
    pub(super) fn restore(&mut self, setup: QueueSetup) {
        self.setup = setup;
    }
}

/// Sets a 64-bit register as a whole or one of its halves (4.1.3.1); other accesses are dropped.
fn set_part(register: &mut u64, offset: u64, len: usize, value: u64) {
    match (offset % 8, len) {
        (0, 8) => *register = value,
        (0, 4) => *register = *register & !0xffff_ffff | value & 0xffff_ffff,
        (4, 4) => *register = *register & 0xffff_ffff | value << 32,
        _ => {}
    }
}
