//! A TAP interface of the host: bridged, routed or filtered by whoever administers it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use host_sys::io_buffers::IoBuffers;
use host_sys::tap::{TapError, TapQueue, mtu_bytes, open_queues};

use crate::{NetBackend, NetPair, Offloads};

/// A TAP interface, see [`host_sys::tap`]. One in-kernel queue a pair.
pub struct Tap {
    queues: Vec<Arc<TapQueue>>,
    pairs: Vec<Arc<dyn NetPair>>,
    offloads: Offloads,
    mtu_bytes: Option<u16>,
    active: Mutex<usize>,
}

impl Tap {
    /// Attaches to interface `name` with `pairs` queue pairs; as root, creates it if it is not there.
    pub fn open(name: &str, pairs: u16) -> Result<Tap, TapError> {
        let queues: Vec<Arc<TapQueue>> = open_queues(name, pairs)?.into_iter().map(Arc::new).collect();
        let kernel = |source| TapError::Kernel {
            interface: name.to_owned(),
            operation: "setting offloads and queues",
            source,
        };
        let pairs = queues.iter().map(|queue| Arc::clone(queue) as Arc<dyn NetPair>).collect();
        let active = Mutex::new(queues.len());
        let offloads = probe_offloads(&queues[0]).map_err(kernel)?;
        let tap = Tap { queues, pairs, offloads, mtu_bytes: mtu_bytes(name).ok(), active };
        tap.set_active_pairs(1).map_err(kernel)?;
        Ok(tap)
    }
}

/// All offloads, on a kernel that takes them; none otherwise. They are off afterwards.
fn probe_offloads(queue: &TapQueue) -> io::Result<Offloads> {
    let found = queue.set_offloads(Offloads::ALL).map_or(Offloads::default(), |()| Offloads::ALL);
    queue.set_offloads(Offloads::default())?;
    Ok(found)
}

impl NetBackend for Tap {
    fn pairs(&self) -> &[Arc<dyn NetPair>] {
        &self.pairs
    }

    fn offloads(&self) -> Offloads {
        self.offloads
    }

    fn set_offloads(&self, offloads: Offloads) -> io::Result<()> {
        self.queues[0].set_offloads(offloads)
    }

    fn set_active_pairs(&self, count: u16) -> io::Result<()> {
        let wanted = usize::from(count).clamp(1, self.queues.len());
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        while *active < wanted {
            self.queues[*active].set_attached(true)?;
            *active += 1;
        }
        while *active > wanted {
            self.queues[*active - 1].set_attached(false)?;
            *active -= 1;
        }
        Ok(())
    }

    fn mtu_bytes(&self) -> Option<u16> {
        self.mtu_bytes
    }
}

impl NetPair for TapQueue {
    fn readable(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        self.read(buffer)
    }

    fn send(&self, packet: &IoBuffers) -> io::Result<()> {
        self.write(packet).map(|_| ())
    }
}

#[cfg(test)]
mod tests;
