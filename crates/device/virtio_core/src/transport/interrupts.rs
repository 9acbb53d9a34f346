//! How queues and configuration space reach the driver. Shared with the workers, without the transport's lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering};

use pci::MsixVectors;

use super::spec::{ISR_CONFIG, ISR_QUEUE, NO_VECTOR, STATUS_NEEDS_RESET};
use crate::config_change::ConfigInterrupt;
use crate::queue::QueueInterrupt;

/// Vectors as the driver mapped them, ISR status, and what only the device changes in common configuration.
pub(super) struct Interrupts {
    msix: Arc<MsixVectors>,
    config_vector: AtomicU16,
    queue_vectors: Box<[AtomicU16]>,
    isr: AtomicU8,
    generation: AtomicU8,
    needs_reset: AtomicBool,
}

impl Interrupts {
    /// For `queues` queues; nothing is mapped.
    pub(super) fn new(msix: Arc<MsixVectors>, queues: usize) -> Interrupts {
        Interrupts {
            msix,
            config_vector: AtomicU16::new(NO_VECTOR),
            queue_vectors: (0..queues).map(|_| AtomicU16::new(NO_VECTOR)).collect(),
            isr: AtomicU8::new(0),
            generation: AtomicU8::new(0),
            needs_reset: AtomicBool::new(false),
        }
    }

    /// Queue `index`'s way to the driver.
    pub(super) fn queue(self: &Arc<Self>, index: u16) -> Arc<dyn QueueInterrupt> {
        Arc::new(QueueVector { interrupts: Arc::clone(self), index: usize::from(index) })
    }

    /// ISR status, cleared by reading (4.1.4.5).
    pub(super) fn take_isr(&self) -> u8 {
        self.isr.swap(0, Ordering::SeqCst)
    }

    /// Register `config_generation`.
    pub(super) fn generation(&self) -> u8 {
        self.generation.load(Ordering::SeqCst)
    }

    /// `DEVICE_NEEDS_RESET`, if it is set.
    pub(super) fn status(&self) -> u8 {
        if self.needs_reset.load(Ordering::SeqCst) { STATUS_NEEDS_RESET } else { 0 }
    }

    /// Sets `DEVICE_NEEDS_RESET` and says so (2.1.2).
    pub(super) fn signal_needs_reset(&self) {
        self.needs_reset.store(true, Ordering::SeqCst);
        self.signal_config();
    }

    /// Register `config_msix_vector`.
    pub(super) fn config_vector(&self) -> u16 {
        self.config_vector.load(Ordering::SeqCst)
    }

    /// Maps changes of configuration space to `vector`; one that does not exist becomes `NO_VECTOR` (4.1.5.1.2).
    pub(super) fn set_config_vector(&self, vector: u16) {
        self.config_vector.store(self.existing(vector), Ordering::SeqCst);
    }

    /// Register `queue_msix_vector` of a queue.
    pub(super) fn queue_vector(&self, index: usize) -> u16 {
        self.queue_vectors.get(index).map_or(NO_VECTOR, |vector| vector.load(Ordering::SeqCst))
    }

    /// Maps a queue to `vector`; one that does not exist becomes `NO_VECTOR` (4.1.5.1.2).
    pub(super) fn set_queue_vector(&self, index: usize, vector: u16) {
        if let Some(mapped) = self.queue_vectors.get(index) {
            mapped.store(self.existing(vector), Ordering::SeqCst);
        }
    }

    /// Forgets the driver. The generation goes on, so that no two configurations share one.
    pub(super) fn reset(&self) {
        self.config_vector.store(NO_VECTOR, Ordering::SeqCst);
        self.queue_vectors.iter().for_each(|vector| vector.store(NO_VECTOR, Ordering::SeqCst));
        self.isr.store(0, Ordering::SeqCst);
        self.needs_reset.store(false, Ordering::SeqCst);
    }

    /// ISR status without clearing it, for saving.
    pub(super) fn isr(&self) -> u8 {
        self.isr.load(Ordering::SeqCst)
    }

    /// Takes over what was saved, besides vectors.
    pub(super) fn restore(&self, isr: u8, generation: u8, needs_reset: bool) {
        self.isr.store(isr & (ISR_QUEUE | ISR_CONFIG), Ordering::SeqCst);
        self.generation.store(generation, Ordering::SeqCst);
        self.needs_reset.store(needs_reset, Ordering::SeqCst);
    }

    fn existing(&self, vector: u16) -> u16 {
        if vector < self.msix.count() { vector } else { NO_VECTOR }
    }

    fn signal_config(&self) {
        self.isr.fetch_or(ISR_CONFIG, Ordering::SeqCst);
        self.msix.signal(self.config_vector());
    }
}

impl ConfigInterrupt for Interrupts {
    fn signal_config_changed(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.signal_config();
    }
}

struct QueueVector {
    interrupts: Arc<Interrupts>,
    index: usize,
}

impl QueueInterrupt for QueueVector {
    fn signal_used(&self) {
        match self.interrupts.queue_vector(self.index) {
            // Without a vector the driver can only look: ISR status tells it (4.1.4.5.1).
            NO_VECTOR => {
                self.interrupts.isr.fetch_or(ISR_QUEUE, Ordering::SeqCst);
            }
            vector => self.interrupts.msix.signal(vector),
        }
    }

    fn signal_broken(&self) {
        self.interrupts.signal_needs_reset();
    }
}
