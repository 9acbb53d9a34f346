//! Packets into the guest.
//!
//! ```text
//! Ready ──packet, buffers──► Ready
//!   │  ▲
//!   │  └──kick: try again
//!   └────packet, no buffers──► Starved: one packet is held, the rest wait in the backend, which is muted
//!   └────backend failed──────► Gone: muted for good
//! ```

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use device_model::EventFd;
use guest_memory::GuestMemory;
use net_backend::{HEADER_BYTES, NetPair};
use tracing::{debug, warn};
use virtio_core::{Chain, Queue, QueueHandler, QueueResources};

use crate::NetCounters;
use crate::spec::{
    F_GUEST_CSUM, F_MRG_RXBUF, HDR_FLAGS, HDR_NUM_BUFFERS, PACKET_MAX_BYTES, PACKET_MIN_BYTES,
};

/// Packets received before the worker looks for a stop.
const BURST: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Starved,
    Gone,
}

/// What became of a packet.
#[derive(Debug, PartialEq, Eq)]
enum Delivery {
    Done,
    /// The driver has too few buffers available: later, perhaps.
    NoBuffers,
    /// It fits no buffers that the driver could make available, or these lie outside RAM.
    Dropped,
}

/// Serves a receive queue.
pub struct Receive {
    pub queue: Queue,
    kick: EventFd,
    pair: Arc<dyn NetPair>,
    counters: Arc<NetCounters>,
    features: u64,
    state: State,
    /// One byte longer than the longest packet, to tell a longer one.
    buffer: Vec<u8>,
    /// Length of the packet in `buffer` that waits for the driver's buffers.
    held_bytes: Option<usize>,
    /// Chains taken for that packet so far, too few yet. Taken, since a driver is only asked for a kick on
    /// buffers beyond those that the device has seen.
    gathered: Vec<Chain>,
    /// Writable bytes of `gathered`.
    room_bytes: u64,
}

impl Receive {
    /// Serves the queue of `resources` with `pair`. The kick is also rung by the worker for itself.
    pub fn new(
        resources: QueueResources,
        pair: Arc<dyn NetPair>,
        counters: Arc<NetCounters>,
        features: u64,
    ) -> io::Result<(EventFd, Receive)> {
        let QueueResources { queue, kick } = resources;
        let receive = Receive {
            queue,
            kick: kick.try_clone()?,
            pair,
            counters,
            features,
            state: State::Ready,
            buffer: vec![0; PACKET_MAX_BYTES + 1],
            held_bytes: None,
            gathered: Vec::new(),
            room_bytes: 0,
        };
        Ok((kick, receive))
    }

    fn serve(&mut self) {
        // While there are buffers the driver's kicks say nothing: packets are what is waited for.
        self.queue.disable_kicks();
        for _ in 0..BURST {
            let Some(len) = self.next_packet() else { return self.queue.signal() };
            match self.deliver(len) {
                Delivery::Done => self.counters.received.passed((len - HEADER_BYTES) as u64),
                Delivery::Dropped => {
                    debug!(bytes = len, "packet for the guest dropped");
                    self.counters.received.dropped();
                }
                Delivery::NoBuffers => {
                    self.held_bytes = Some(len);
                    if !self.queue.enable_kicks() {
                        self.state = State::Starved;
                        return self.queue.signal();
                    }
                }
            }
        }
        self.queue.signal();
        // There may be more, of packets or of buffers: ring the worker's own bell. Fails only when it rings
        // already.
        let _ = self.kick.write(1);
    }

    /// The packet held, or the backend's next: its length in `buffer`.
    fn next_packet(&mut self) -> Option<usize> {
        if let Some(len) = self.held_bytes.take() {
            return Some(len);
        }
        for _ in 0..BURST {
            match self.pair.receive(&mut self.buffer) {
                Ok(Some(len)) if (PACKET_MIN_BYTES..=PACKET_MAX_BYTES).contains(&len) => {
                    self.adapt_header();
                    return Some(len);
                }
                Ok(Some(_)) => self.counters.received.dropped(),
                Ok(None) => return None,
                Err(error) => {
                    warn!(%error, "network backend failed: nothing is received any more");
                    self.state = State::Gone;
                    return None;
                }
            }
        }
        None
    }

    /// A driver that takes no checksum help gets no flags (5.1.6.4.1).
    fn adapt_header(&mut self) {
        if self.features & F_GUEST_CSUM == 0 {
            self.buffer[HDR_FLAGS] = 0;
        }
    }

    /// Spreads the first `len` bytes of `buffer` over as many chains as it takes (5.1.6.4).
    fn deliver(&mut self, len: usize) -> Delivery {
        let merges = self.features & F_MRG_RXBUF != 0;
        while self.room_bytes < len as u64 {
            if self.gathered.len() >= if merges { usize::from(self.queue.size()) } else { 1 } {
                // There cannot be more: waiting is in vain.
                self.put_back();
                return Delivery::Dropped;
            }
            let Some(chain) = self.queue.pop() else { return Delivery::NoBuffers };
            self.room_bytes += chain.writable_bytes();
            self.gathered.push(chain);
        }
        // At most as many as the ring has descriptors, 32768.
        let count = self.gathered.len() as u16;
        self.buffer[HDR_NUM_BUFFERS].copy_from_slice(&count.to_le_bytes());
        self.fill(len)
    }

    fn fill(&mut self, len: usize) -> Delivery {
        let (mut used, mut done, mut is_lost) = (Vec::with_capacity(self.gathered.len()), 0, false);
        for chain in self.gathered.drain(..) {
            let take = usize::try_from(chain.writable_bytes()).unwrap_or(usize::MAX).min(len - done);
            let written = chain.write(self.queue.memory(), 0, &self.buffer[done..done + take]);
            is_lost |= written.is_err();
            used.push((chain.head, if written.is_ok() { take as u32 } else { 0 }));
            done += take;
        }
        self.room_bytes = 0;
        self.queue.complete_together(&used);
        if is_lost { Delivery::Dropped } else { Delivery::Done }
    }

    fn put_back(&mut self) {
        for _ in self.gathered.drain(..) {
            self.queue.undo_pop();
        }
        self.room_bytes = 0;
    }
}

impl QueueHandler for Receive {
    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.pair.readable()]
    }

    fn memory(&self) -> &GuestMemory {
        self.queue.memory()
    }

    fn on_kick(&mut self) {
        if self.state == State::Starved {
            self.state = State::Ready;
        }
        if self.state == State::Ready {
            self.serve();
        }
    }

    fn on_source(&mut self, _index: usize) {
        if self.state == State::Ready {
            self.serve();
        }
    }

    fn is_muted(&self, _index: usize) -> bool {
        self.state != State::Ready
    }

    /// A packet that is held is lost, as on a wire.
    fn drain(&mut self) {
        self.put_back();
        if self.held_bytes.take().is_some() {
            self.counters.received.dropped();
        }
    }
}
