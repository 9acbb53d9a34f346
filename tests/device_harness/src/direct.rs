//! A device without its transport: queues are started by hand, as the transport would start them.

use std::sync::Arc;
use std::time::Duration;

use device_model::EventFd;
use host_sys::poll::new_event;
use virtio_core::{Queue, QueueResources, QueueState, StartError, VirtioDevice};

use crate::{Arena, Piece, RecordingInterrupt, RingDriver, Used};

/// How long a device may take to answer. Generous, since the machine is shared; a pass never waits.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// What came back for one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Bytes that the device says it wrote.
    pub written_bytes: u32,
    /// Contents of the writable buffers, joined, whether written or not.
    pub data: Vec<u8>,
}

struct DirectQueue {
    ring: RingDriver,
    kick: EventFd,
    interrupt: Arc<RecordingInterrupt>,
}

/// Drives a [`VirtioDevice`] directly.
pub struct DirectDriver {
    /// Guest RAM: put buffers here.
    pub arena: Arena,
    device: Box<dyn VirtioDevice>,
    queues: Vec<DirectQueue>,
    features: u64,
}

impl DirectDriver {
    /// Most descriptors of a ring made here; a device that offers fewer gets fewer.
    pub const RING_SIZE: u16 = 256;

    /// Rings for all queues of `device` in 16 MiB of RAM. No queue is started.
    pub fn new(device: Box<dyn VirtioDevice>) -> DirectDriver {
        DirectDriver::with_memory(device, Arena::new(16 << 20))
    }

    /// Like [`new`](DirectDriver::new), in RAM of the caller's.
    pub fn with_memory(device: Box<dyn VirtioDevice>, mut arena: Arena) -> DirectDriver {
        let queues = device
            .queue_sizes()
            .into_iter()
            .map(|max_size| DirectQueue {
                ring: RingDriver::new(&mut arena, max_size.min(DirectDriver::RING_SIZE)),
                kick: new_event().expect("an event descriptor"),
                interrupt: Arc::default(),
            })
            .collect();
        DirectDriver { arena, device, queues, features: 0 }
    }

    /// The device, for configuration space and saved state.
    pub fn device(&mut self) -> &mut dyn VirtioDevice {
        &mut *self.device
    }

    /// Another device of the same kind takes the place of this one, whose queues are stopped.
    pub fn replace_device(&mut self, device: Box<dyn VirtioDevice>) {
        self.device = device;
    }

    /// Starts all queues with `features` negotiated.
    pub fn start(&mut self, features: u64) {
        self.features = features;
        for index in 0..self.queues.len() as u16 {
            self.start_queue(index, QueueState::default()).expect("the queue starts");
        }
    }

    /// Starts one queue from `state`, with the features of the last [`start`](DirectDriver::start).
    pub fn start_queue(&mut self, index: u16, state: QueueState) -> Result<(), StartError> {
        let DirectQueue { ring, kick, interrupt } = &self.queues[usize::from(index)];
        let max_size = self.device.queue_sizes()[usize::from(index)];
        let memory = self.arena.memory().clone();
        let queue = Queue::new(ring.layout(), max_size, state, self.features, memory, interrupt.clone())
            .expect("the harness lays rings out well");
        let kick = kick.try_clone().expect("an event descriptor");
        self.device.start_queue(index, QueueResources { queue, kick }, self.features)
    }

    /// Stops all queues and says where each stood.
    pub fn stop(&mut self) -> Vec<Option<QueueState>> {
        (0..self.queues.len() as u16).map(|index| self.device.stop_queue(index)).collect()
    }

    /// Goes on after [`stop`](DirectDriver::stop).
    pub fn resume(&mut self, states: &[Option<QueueState>]) {
        for (index, state) in states.iter().enumerate() {
            if let Some(state) = state {
                self.start_queue(index as u16, *state).expect("the queue starts again");
            }
        }
    }

    /// The driver's half of queue `index`.
    pub fn ring(&mut self, index: u16) -> &mut RingDriver {
        &mut self.queues[usize::from(index)].ring
    }

    /// The interrupts of queue `index`.
    pub fn interrupt(&self, index: u16) -> &RecordingInterrupt {
        &self.queues[usize::from(index)].interrupt
    }

    /// Tells the device that queue `index` has new chains.
    pub fn kick(&self, index: u16) {
        self.queues[usize::from(index)].kick.write(1).expect("the kick is written");
    }

    /// Adds a chain to queue `index` and kicks. Returns its head.
    pub fn submit(&mut self, index: u16, readable: &[Piece], writable: &[Piece]) -> u16 {
        let head = self.ring(index).add(readable, writable);
        self.kick(index);
        head
    }

    /// Waits for the next completion on queue `index`; panics after [`REPLY_TIMEOUT`].
    pub fn wait(&mut self, index: u16) -> Used {
        self.ring(index).wait_used(REPLY_TIMEOUT).expect("the device answers in time")
    }

    /// One request and its reply: readable buffers with `readable`'s contents, then writable buffers of
    /// `writable` bytes each. Nothing else may be in flight on the queue. The buffers' RAM is used again.
    pub fn request(&mut self, index: u16, readable: &[&[u8]], writable: &[u32]) -> Reply {
        let mark = self.arena.mark();
        let readable = self.arena.put_each(readable);
        let writable = self.arena.room_each(writable);
        let head = self.submit(index, &readable, &writable);
        let used = self.wait(index);
        assert_eq!(used.head, u32::from(head), "the device completed another chain");
        let data = self.arena.gather(&writable);
        self.arena.release(mark);
        Reply { written_bytes: used.written_bytes, data }
    }
}

impl Drop for DirectDriver {
    fn drop(&mut self) {
        // Workers hold guest memory: they end before it does.
        self.stop();
    }
}
