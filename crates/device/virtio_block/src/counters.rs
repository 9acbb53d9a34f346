//! What a block device has done, for whoever watches it.

use std::sync::atomic::{AtomicU64, Ordering};

use disk::DiskOperation;

/// Running counts of a device, over all of its queues and since it was built. Shared; read at any time.
#[derive(Debug, Default)]
pub struct BlockCounters {
    reads: AtomicU64,
    writes: AtomicU64,
    flushes: AtomicU64,
    discards: AtomicU64,
    write_zeroes: AtomicU64,
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    held: AtomicU64,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockCounts {
    /// Reads completed.
    pub reads: u64,
    /// Writes completed.
    pub writes: u64,
    /// Flushes completed.
    pub flushes: u64,
    /// Discards completed.
    pub discards: u64,
    /// Write-zeroes completed.
    pub write_zeroes: u64,
    /// Bytes read by completed reads.
    pub read_bytes: u64,
    /// Bytes written by completed writes, zeroed ranges not included.
    pub written_bytes: u64,
    /// Requests answered with an error because of what the guest asked.
    pub refused: u64,
    /// Requests answered with an error because of what the host could not do.
    pub failed: u64,
    /// Requests that the host could not do and that wait, now, for the machine to be resumed.
    pub held: u64,
}

impl BlockCounters {
    /// The counts now. Each is exact; together they may be a request apart.
    pub fn read(&self) -> BlockCounts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BlockCounts {
            reads: load(&self.reads),
            writes: load(&self.writes),
            flushes: load(&self.flushes),
            discards: load(&self.discards),
            write_zeroes: load(&self.write_zeroes),
            read_bytes: load(&self.read_bytes),
            written_bytes: load(&self.written_bytes),
            refused: load(&self.refused),
            failed: load(&self.failed),
            held: load(&self.held),
        }
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
