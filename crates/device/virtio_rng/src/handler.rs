//! Serves the queue: each chain's writable part is filled with random bytes.

use std::os::fd::BorrowedFd;

use device_model::EventFd;
use tracing::debug;
use virtio_core::{Chain, Queue, QueueHandler, QueueState};

/// Most bytes written for one chain; the driver asks again for more (5.4.6.1 lets the device write less).
pub(crate) const MAX_CHAIN_BYTES: u64 = 64 * 1024;

/// Chains served before the worker looks whether it is to stop.
const BATCH: usize = 64;

/// Bytes fetched at a time.
const FETCH_BYTES: usize = 4096;

/// The worker's half of the device.
pub(crate) struct EntropyHandler {
    queue: Queue,
    again: EventFd,
}

impl EntropyHandler {
    /// Serves `queue`; `again` is a handle of its kick.
    pub(crate) fn new(queue: Queue, again: EventFd) -> EntropyHandler {
        EntropyHandler { queue, again }
    }

    /// Where the queue stands.
    pub(crate) fn state(&self) -> QueueState {
        self.queue.state()
    }

    /// Serves at most one batch; `true` when the ring is empty and the driver will kick.
    fn serve_batch(&mut self) -> bool {
        self.queue.disable_kicks();
        for _ in 0..BATCH {
            match self.queue.pop() {
                Some(chain) => {
                    let written_bytes = self.fill(&chain);
                    self.queue.complete(chain.head, written_bytes);
                }
                None if self.queue.enable_kicks() => {}
                None => return true,
            }
        }
        false
    }

    /// Fills the chain's writable part as far as it goes and returns the bytes written.
    fn fill(&self, chain: &Chain) -> u32 {
        let wanted = chain.writable_bytes().min(MAX_CHAIN_BYTES);
        let mut entropy = [0; FETCH_BYTES];
        let mut written = 0;
        while written < wanted {
            let piece = &mut entropy[..(wanted - written).min(FETCH_BYTES as u64) as usize];
            if let Err(error) = getrandom::fill(piece) {
                debug!(device = "virtio-rng", %error, "no entropy from the host");
                break;
            }
            if let Err(error) = chain.write(self.queue.memory(), written, piece) {
                debug!(device = "virtio-rng", %error, "request cut short");
                break;
            }
            written += piece.len() as u64;
        }
        written as u32
    }
}

impl QueueHandler for EntropyHandler {
    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    fn on_kick(&mut self) {
        if !self.serve_batch() {
            // A full counter means that the worker is woken anyway.
            let _ = self.again.write(1);
        }
        self.queue.signal();
    }

    fn on_source(&mut self, _index: usize) {}

    fn drain(&mut self) {}
}
