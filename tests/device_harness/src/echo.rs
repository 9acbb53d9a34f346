//! The simplest device with everything that a device can have: it copies what it reads into what it writes.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use device_model::{Saved, Snapshot, SnapshotError, lock, read_register};
use guest_memory::GuestMemory;
use virtio_core::{
    Chain, ConfigChange, DeviceType, Queue, QueueHandler, QueueResources, QueueState, StartError,
    VirtioDevice, Worker,
};

/// Most bytes copied for one chain.
const MAX_COPY_BYTES: u64 = 1 << 20;

/// A test's hand inside an [`EchoDevice`].
#[derive(Clone, Default)]
pub struct EchoControl {
    change: Arc<Mutex<Option<ConfigChange>>>,
    shown: Arc<AtomicU32>,
    resets: Arc<AtomicU32>,
    refuses: Arc<AtomicBool>,
    starves: Arc<AtomicBool>,
}

impl EchoControl {
    /// Changes what configuration space shows at offset 4, and says so.
    pub fn show(&self, value: u32) {
        self.shown.store(value, Ordering::SeqCst);
        if let Some(change) = &*lock(&self.change) {
            change.notify();
        }
    }

    /// How often the device was reset.
    pub fn resets(&self) -> u32 {
        self.resets.load(Ordering::SeqCst)
    }

    /// Lets the device refuse to start queues, or start them again.
    pub fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::SeqCst);
    }

    /// Lets the host have no descriptors left when a queue is started.
    pub fn starve(&self) {
        self.starves.store(true, Ordering::SeqCst);
    }
}

/// Copies each chain's readable part to its writable part.
///
/// Configuration space: four bytes that the driver may write, and that are saved; four that the test changes.
pub struct EchoDevice {
    control: EchoControl,
    scratch: u32,
    workers: Vec<Option<Worker<EchoHandler>>>,
}

impl EchoDevice {
    /// Descriptors of each queue.
    pub const QUEUE_SIZE: u16 = 128;
    /// A feature bit of the device's own.
    pub const FEATURE: u64 = 1 << 5;

    /// A device with `queues` queues.
    pub fn new(queues: u16) -> EchoDevice {
        let workers = (0..queues).map(|_| None).collect();
        EchoDevice { control: EchoControl::default(), scratch: 0, workers }
    }

    /// The test's hand.
    pub fn control(&self) -> EchoControl {
        self.control.clone()
    }
}

impl VirtioDevice for EchoDevice {
    fn device_type(&self) -> DeviceType {
        DeviceType::Console
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![EchoDevice::QUEUE_SIZE; self.workers.len()]
    }

    fn features(&self) -> u64 {
        EchoDevice::FEATURE
    }

    fn read_config(&self, offset: usize, data: &mut [u8]) {
        let shown = self.control.shown.load(Ordering::SeqCst);
        let config = u64::from(self.scratch) | u64::from(shown) << 32;
        read_register(&config.to_le_bytes(), offset, data);
    }

    fn write_config(&mut self, offset: usize, data: &[u8]) {
        if let (0, Ok(bytes)) = (offset, <[u8; 4]>::try_from(data)) {
            self.scratch = u32::from_le_bytes(bytes);
        }
    }

    fn connect_config(&mut self, change: ConfigChange) {
        *lock(&self.control.change) = Some(change);
    }

    fn start_queue(
        &mut self,
        index: u16,
        resources: QueueResources,
        _features: u64,
    ) -> Result<(), StartError> {
        if self.control.refuses.load(Ordering::SeqCst) {
            return Err(StartError::Protocol("the test refuses"));
        }
        if self.control.starves.load(Ordering::SeqCst) {
            // EMFILE (errno(3)).
            return Err(StartError::Backend(std::io::Error::from_raw_os_error(24)));
        }
        let QueueResources { queue, kick } = resources;
        let worker = Worker::start("echo", kick, EchoHandler { queue }).map_err(StartError::Worker)?;
        let slot = self.workers.get_mut(usize::from(index)).ok_or(StartError::Protocol("no such queue"))?;
        *slot = Some(worker);
        Ok(())
    }

    fn stop_queue(&mut self, index: u16) -> Option<QueueState> {
        let worker = self.workers.get_mut(usize::from(index))?.take()?;
        worker.stop().map(|handler| handler.queue.state())
    }

    fn reset(&mut self) {
        self.scratch = 0;
        self.control.resets.fetch_add(1, Ordering::SeqCst);
    }
}

impl Snapshot for EchoDevice {
    const VERSION: u32 = 1;
    type State = u32;

    fn save(&self) -> Saved<u32> {
        let Self { control: _, scratch, workers: _ } = self;
        Saved::State(*scratch)
    }

    fn restore(&mut self, state: u32) -> Result<(), SnapshotError> {
        self.scratch = state;
        Ok(())
    }
}

struct EchoHandler {
    queue: Queue,
}

impl EchoHandler {
    fn copy(&self, chain: &Chain) -> u32 {
        let len = chain.readable_bytes().min(chain.writable_bytes()).min(MAX_COPY_BYTES);
        let mut data = vec![0; len as usize];
        let memory = self.queue.memory();
        let copied = chain.read(memory, 0, &mut data).and_then(|()| chain.write(memory, 0, &data));
        copied.map_or(0, |()| len as u32)
    }
}

impl QueueHandler for EchoHandler {
    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    fn memory(&self) -> &GuestMemory {
        self.queue.memory()
    }

    fn on_kick(&mut self) {
        loop {
            self.queue.disable_kicks();
            while let Some(chain) = self.queue.pop() {
                let written_bytes = self.copy(&chain);
                self.queue.complete(chain.head, written_bytes);
            }
            if !self.queue.enable_kicks() {
                break;
            }
        }
        self.queue.signal();
    }

    fn on_source(&mut self, _index: usize) {}

    fn drain(&mut self) {}
}
