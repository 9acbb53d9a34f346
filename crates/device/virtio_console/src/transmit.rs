//! What the guest says.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use char_backend::CharBackend;
use device_model::EventFd;
use virtio_core::{Chain, Queue, QueueHandler, QueueResources};

/// Chains written before the worker looks for a stop.
const BURST: usize = 64;
/// Bytes copied out of the guest at once.
const CHUNK_BYTES: u64 = 4096;
/// Most bytes of one chain that are written; the rest is dropped. Drivers send a page at a time.
const CHAIN_MAX_BYTES: u64 = 1 << 20;

/// Serves the transmit queue.
pub struct Transmit {
    pub queue: Queue,
    kick: EventFd,
    backend: Arc<dyn CharBackend>,
}

impl Transmit {
    /// Serves the queue of `resources`. The kick is also rung by the worker for itself.
    pub fn new(resources: QueueResources, backend: Arc<dyn CharBackend>) -> io::Result<(EventFd, Transmit)> {
        let QueueResources { queue, kick } = resources;
        Ok((kick.try_clone()?, Transmit { queue, kick, backend }))
    }

    fn write(&self, chain: &Chain) {
        let len = chain.readable_bytes().min(CHAIN_MAX_BYTES);
        let mut data = [0; CHUNK_BYTES as usize];
        let mut done = 0;
        while done < len {
            let piece = &mut data[..(len - done).min(CHUNK_BYTES) as usize];
            // A buffer outside RAM ends what can be said of the chain.
            if chain.read(self.queue.memory(), done, piece).is_err() {
                return;
            }
            self.backend.write(piece);
            done += piece.len() as u64;
        }
    }
}

impl QueueHandler for Transmit {
    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    fn on_kick(&mut self) {
        self.queue.disable_kicks();
        for _ in 0..BURST {
            let Some(chain) = self.queue.pop() else {
                if self.queue.enable_kicks() {
                    continue;
                }
                return self.queue.signal();
            };
            self.write(&chain);
            self.queue.complete(chain.head, 0);
        }
        self.queue.signal();
        // There may be more: ring the worker's own bell. Fails only when it rings already.
        let _ = self.kick.write(1);
    }

    fn on_source(&mut self, _index: usize) {}

    fn drain(&mut self) {}
}
