//! An interrupt that remembers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use virtio_core::QueueInterrupt;

/// Counts a queue's interrupts and notes whether the device gave up on the ring.
#[derive(Debug, Default)]
pub struct RecordingInterrupt {
    used: AtomicU64,
    broken: AtomicBool,
}

impl RecordingInterrupt {
    /// How often the driver was told of used buffers.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::SeqCst)
    }

    /// Whether the device took the ring out of service.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }
}

impl QueueInterrupt for RecordingInterrupt {
    fn signal_used(&self) {
        self.used.fetch_add(1, Ordering::SeqCst);
    }

    fn signal_broken(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }
}
