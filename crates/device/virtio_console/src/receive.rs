//! What is typed.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use char_backend::CharBackend;
use device_model::EventFd;
use guest_memory::GuestMemory;
use virtio_core::{Queue, QueueHandler, QueueResources};

/// Chains filled before the worker looks for a stop.
const BURST: usize = 64;
/// Most bytes given to one chain.
const CHUNK_BYTES: usize = 4096;

/// Serves the receive queue.
pub struct Receive {
    pub queue: Queue,
    kick: EventFd,
    backend: Arc<dyn CharBackend>,
    /// The driver has no buffers available: the backend is muted until it kicks.
    is_starved: bool,
}

impl Receive {
    /// Serves the queue of `resources`. The kick is also rung by the worker for itself.
    pub fn new(resources: QueueResources, backend: Arc<dyn CharBackend>) -> io::Result<(EventFd, Receive)> {
        let QueueResources { queue, kick } = resources;
        Ok((kick.try_clone()?, Receive { queue, kick, backend, is_starved: false }))
    }

    fn serve(&mut self) {
        self.is_starved = false;
        // While there are buffers the driver's kicks say nothing: input is what is waited for.
        self.queue.disable_kicks();
        let mut data = [0; CHUNK_BYTES];
        for _ in 0..BURST {
            let Some(chain) = self.queue.pop() else {
                if self.queue.enable_kicks() {
                    continue;
                }
                self.is_starved = true;
                return self.queue.signal();
            };
            let room = chain.writable_bytes().min(CHUNK_BYTES as u64) as usize;
            let count = self.backend.read(&mut data[..room]);
            if count == 0 && room > 0 {
                self.queue.undo_pop();
                return self.queue.signal();
            }
            // Input for a buffer outside RAM is lost; one without room is handed back empty.
            let written = chain.write(self.queue.memory(), 0, &data[..count]);
            self.queue.complete(chain.head, written.map_or(0, |()| count as u32));
        }
        self.queue.signal();
        // There may be more: ring the worker's own bell. Fails only when it rings already.
        let _ = self.kick.write(1);
    }
}

impl QueueHandler for Receive {
    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        self.backend.readable().into_iter().collect()
    }

    fn memory(&self) -> &GuestMemory {
        self.queue.memory()
    }

    fn on_kick(&mut self) {
        self.serve();
    }

    fn on_source(&mut self, _index: usize) {
        self.serve();
    }

    fn is_muted(&self, _index: usize) -> bool {
        self.is_starved
    }

    fn drain(&mut self) {}
}
