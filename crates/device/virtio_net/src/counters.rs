//! What went through a card.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one card, all queue pairs together. Kept from its making to its end, across resets.
#[derive(Debug, Default)]
pub struct NetCounters {
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

/// [`NetCounters`] at one moment. Bytes are those of Ethernet frames, without the virtio header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetTotals {
    /// Packets given to the guest.
    pub received_packets: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Packets for the guest that did not fit its buffers, or that it left none for.
    pub received_dropped: u64,
    /// Packets taken from the guest and sent.
    pub sent_packets: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Packets of the guest that made no sense or that the backend refused.
    pub sent_dropped: u64,
}

impl NetCounters {
    /// The counters now.
    pub fn totals(&self) -> NetTotals {
        let [received_packets, received_bytes, received_dropped] = self.received.load();
        let [sent_packets, sent_bytes, sent_dropped] = self.sent.load();
        NetTotals {
            received_packets,
            received_bytes,
            received_dropped,
            sent_packets,
            sent_bytes,
            sent_dropped,
        }
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

    fn load(&self) -> [u64; 3] {
        [&self.packets, &self.bytes, &self.dropped].map(|counter| counter.load(Ordering::Relaxed))
    }
}
