//! What a block device has done, for whoever watches it.

use std::sync::atomic::{AtomicU64, Ordering};

use device_model::{Figures, HELD};
use disk::DiskOperation;

/// Running counts of a device, over all of its queues and since it was built. Shared; read at any time.
#[derive(Debug, Default)]
pub(crate) struct BlockCounters {
    /// Requests completed, by kind.
    reads: AtomicU64,
    writes: AtomicU64,
    flushes: AtomicU64,
    discards: AtomicU64,
    write_zeroes: AtomicU64,
    /// Bytes of completed requests, zeroed ranges not included.
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
    /// Requests answered with an error because of what the guest asked.
    refused: AtomicU64,
    /// Requests answered with an error because of what the host could not do.
    failed: AtomicU64,
    /// Requests that the host could not do and that wait, now, for the machine to be resumed.
    held: AtomicU64,
}

impl BlockCounters {
    /// The counts now. Each is exact; together they may be a request apart.
    pub(crate) fn figures(&self) -> Figures {
        let BlockCounters {
            reads,
            writes,
            flushes,
            discards,
            write_zeroes,
            read_bytes,
            written_bytes,
            refused,
            failed,
            held,
        } = self;
        let counters = [
            ("reads", reads),
            ("writes", writes),
            ("flushes", flushes),
            ("discards", discards),
            ("write_zeroes", write_zeroes),
            ("read_bytes", read_bytes),
            ("written_bytes", written_bytes),
            ("refused", refused),
            ("failed", failed),
            (HELD, held),
        ];
        counters.map(|(name, counter)| (name, counter.load(Ordering::Relaxed))).into()
    }

    pub(crate) fn count_completed(&self, operation: DiskOperation, length_bytes: u64) {
        let add = |counter: &AtomicU64, by| {
            counter.fetch_add(by, Ordering::Relaxed);
        };
        match operation {
            DiskOperation::Read => {
                add(&self.reads, 1);
                add(&self.read_bytes, length_bytes);
            }
            DiskOperation::Write => {
                add(&self.writes, 1);
                add(&self.written_bytes, length_bytes);
            }
            DiskOperation::Flush => add(&self.flushes, 1),
            DiskOperation::Discard => add(&self.discards, 1),
            DiskOperation::WriteZeroes { .. } => add(&self.write_zeroes, 1),
        }
    }

    pub(crate) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a failure of the host's that the guest was told of.
    pub(crate) fn count_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that waits from now on.
    pub(crate) fn count_held(&self) {
        self.held.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts so many requests that wait no more.
    pub(crate) fn count_released(&self, requests: usize) {
        self.held.fetch_sub(requests as u64, Ordering::SeqCst);
    }
}
