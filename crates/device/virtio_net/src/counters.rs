//! What went through a card.

use std::sync::atomic::{AtomicU64, Ordering};

use device_model::Figures;

/// Counters of one card, all queue pairs together. Kept from its making to its end, across resets.
#[derive(Debug, Default)]
pub(crate) struct NetCounters {
    pub(crate) received: Direction,
    pub(crate) sent: Direction,
}

/// Counters of one direction.
#[derive(Debug, Default)]
pub(crate) struct Direction {
    packets: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
}

impl NetCounters {
    /// The counters now. Bytes are those of Ethernet frames, without the virtio header; dropped for the guest is what did
    /// not fit its buffers or that it left none for, dropped of its own what made no sense or the backend refused.
    pub(crate) fn figures(&self) -> Figures {
        let NetCounters { received, sent } = self;
        let counters = [
            ("received_packets", &received.packets),
            ("received_bytes", &received.bytes),
            ("received_dropped", &received.dropped),
            ("sent_packets", &sent.packets),
            ("sent_bytes", &sent.bytes),
            ("sent_dropped", &sent.dropped),
        ];
        counters.map(|(name, counter)| (name, counter.load(Ordering::Relaxed))).into()
    }
}

impl Direction {
    /// One packet of `bytes` went through.
    pub fn passed(&self, bytes: u64) {
        self.packets.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// One packet did not.
    pub fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}
