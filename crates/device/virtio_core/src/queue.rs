//! A virtqueue as a device sees it: take a chain, complete it, interrupt when the driver wants to know.
//!
//! Layout and index arithmetic are `virtio-queue`'s; here the ring is tied to its memory and interrupt,
//! and a ring that makes no sense is taken out of service.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use guest_memory::{Bytes, GuestAddress, GuestMemory};
use tracing::debug;
use virtio_queue::{QueueOwnedT, QueueT};

use crate::{Chain, QueueState, VIRTIO_F_EVENT_IDX};

/// How a queue reaches its driver. Implemented by the transport.
pub trait QueueInterrupt: Send + Sync {
    /// Buffers were used: the queue's own vector.
    fn signal_used(&self);

    /// The ring makes no sense: the device sets `DEVICE_NEEDS_RESET` (2.1.2).
    fn signal_broken(&self);
}

/// Where the driver put a ring (2.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueLayout {
    /// Number of descriptors, a power of two.
    pub size: u16,
    /// Descriptor table.
    pub descriptors: GuestAddress,
    /// Available ring (driver area).
    pub available: GuestAddress,
    /// Used ring (device area).
    pub used: GuestAddress,
}

/// The driver enabled a queue that cannot be: size not a power of two, misaligned, or outside RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the driver placed the ring outside guest memory, misaligned, or with a bad size")]
pub struct BadLayout;

/// A split virtqueue in service.
pub struct Queue {
    ring: virtio_queue::Queue,
    memory: GuestMemory,
    interrupt: Arc<dyn QueueInterrupt>,
    broken: bool,
    uncounted: bool,
    served: Arc<AtomicU64>,
}

impl Queue {
    /// A ring of at most `max_size` descriptors at `layout`, continued from `state`.
    pub fn new(
        layout: QueueLayout,
        max_size: u16,
        state: QueueState,
        features: u64,
        memory: GuestMemory,
        interrupt: Arc<dyn QueueInterrupt>,
    ) -> Result<Queue, BadLayout> {
        let mut ring = virtio_queue::Queue::new(max_size).map_err(|_| BadLayout)?;
        ring.try_set_size(layout.size).map_err(|_| BadLayout)?;
        ring.try_set_desc_table_address(layout.descriptors).map_err(|_| BadLayout)?;
        ring.try_set_avail_ring_address(layout.available).map_err(|_| BadLayout)?;
        ring.try_set_used_ring_address(layout.used).map_err(|_| BadLayout)?;
        ring.set_event_idx(features & VIRTIO_F_EVENT_IDX != 0);
        ring.set_next_avail(state.next_avail);
        ring.set_next_used(state.next_used);
        ring.set_ready(true);
        if !ring.is_valid(&**memory.slots()) {
            return Err(BadLayout);
        }
        Ok(Queue { ring, memory, interrupt, broken: false, uncounted: false, served: Arc::default() })
    }

    /// The RAM that the ring and its buffers live in.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// Where the queue stands.
    pub fn state(&self) -> QueueState {
        QueueState { next_avail: self.ring.next_avail(), next_used: self.ring.next_used() }
    }

    /// Counter of completed chains.
    pub fn served(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.served)
    }

    /// Counts completed chains in `counter` from now on, so that a count outlives the queue.
    pub fn count_in(&mut self, counter: Arc<AtomicU64>) {
        self.served = counter;
    }

    /// Takes the next chain that the driver made available.
    ///
    /// A chain that breaks the rules of 2.7.5 arrives cut short and is completed like any other; a ring whose
    /// indices make no sense is taken out of service and the driver told that the device needs a reset.
    pub fn pop(&mut self) -> Option<Chain> {
        if self.broken {
            return None;
        }
        let slots = self.memory.slots();
        let next = self.ring.iter(&**slots).map(|mut chains| chains.next().map(Chain::collect));
        drop(slots);
        next.unwrap_or_else(|error| {
            self.give_up(&error);
            None
        })
    }

    /// Puts the chain taken last back, to be taken again.
    pub fn undo_pop(&mut self) {
        self.ring.go_to_previous_position();
    }

    /// Hands the chain with `head` back to the driver; `written_bytes` were written to its writable part.
    pub fn complete(&mut self, head: u16, written_bytes: u32) {
        if self.broken {
            return;
        }
        self.served.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.ring.add_used(&**self.memory.slots(), head, written_bytes) {
            self.give_up(&error);
        }
    }

    /// Hands several chains, as `(head, written_bytes)`, back at once: the driver sees all or none of them.
    /// A network packet that is spread over chains needs that.
    pub fn complete_together(&mut self, chains: &[(u16, u32)]) {
        let Some(((last_head, last_bytes), first)) = chains.split_last() else { return };
        if self.broken {
            return;
        }
        // Entries beyond the used index are not the driver's yet: completing the last one publishes them all.
        let start = self.ring.next_used();
        for (offset, (head, written_bytes)) in first.iter().enumerate() {
            let slot = start.wrapping_add(offset as u16) % self.ring.size().max(1);
            let address = self.ring.used_ring().wrapping_add(4 + u64::from(slot) * 8);
            let element = u64::from(*written_bytes) << 32 | u64::from(*head);
            if let Err(error) = self.memory.slots().write_obj(element.to_le(), GuestAddress(address)) {
                return self.give_up(&virtio_queue::Error::GuestMemory(error));
            }
        }
        self.ring.set_next_used(start.wrapping_add(first.len() as u16));
        self.served.fetch_add(first.len() as u64, Ordering::Relaxed);
        self.uncounted |= !first.is_empty();
        self.complete(*last_head, *last_bytes);
    }

    /// Number of descriptors: no more chains than that can be available.
    pub fn size(&self) -> u16 {
        self.ring.size()
    }

    /// Interrupts the driver if it asked to be told of what was completed.
    pub fn signal(&mut self) {
        if self.broken {
            return;
        }
        // The ring has not counted all that `complete_together` published, so it may miss the driver's
        // threshold; an interrupt too many does no harm (2.7.7.2).
        let uncounted = std::mem::take(&mut self.uncounted);
        match self.ring.needs_notification(&**self.memory.slots()) {
            Ok(wanted) if (wanted || uncounted) && !self.is_polled() => self.interrupt.signal_used(),
            Ok(_) => {}
            Err(error) => self.give_up(&error),
        }
    }

    /// Whether the driver set `VIRTQ_AVAIL_F_NO_INTERRUPT`, which counts only where event indices were not
    /// negotiated (2.7.7). The ring's fence lies between the used index and this look.
    fn is_polled(&self) -> bool {
        const NO_INTERRUPT: u16 = 1;
        let flags = self.memory.slots().load::<u16>(GuestAddress(self.ring.avail_ring()), Ordering::Acquire);
        !self.ring.event_idx_enabled() && flags.is_ok_and(|flags| u16::from_le(flags) & NO_INTERRUPT != 0)
    }

    /// Asks the driver not to kick while the queue is being served.
    pub fn disable_kicks(&mut self) {
        if self.broken {
            return;
        }
        if let Err(error) = self.ring.disable_notification(&**self.memory.slots()) {
            self.give_up(&error);
        }
    }

    /// Asks the driver to kick again; `true` when buffers arrived meanwhile and have to be served first.
    pub fn enable_kicks(&mut self) -> bool {
        if self.broken {
            return false;
        }
        self.ring.enable_notification(&**self.memory.slots()).unwrap_or_else(|error| {
            self.give_up(&error);
            false
        })
    }

    fn give_up(&mut self, error: &virtio_queue::Error) {
        if !self.broken {
            debug!(%error, "virtqueue out of service until reset");
            self.broken = true;
            self.interrupt.signal_broken();
        }
    }
}
