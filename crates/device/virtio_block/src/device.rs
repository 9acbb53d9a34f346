//! The device as the transport sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use device_model::{Figures, PowerSink, Saved, Snapshot, SnapshotError, read_register};
use disk::Disk;
use guest_memory::GuestAddress;
use serde::{Deserialize, Serialize};
use tracing::error;
use virtio_core::{
    Chain, ConfigChange, DeviceType, QueueResources, QueueState, StartError, VirtioDevice, Worker,
};

use crate::config::{Offer, QUEUE_SIZE, config_space, features};
use crate::counters::BlockCounters;
use crate::failures::{Failures, Listener, OnError};
use crate::handler::{BlockHandler, Cache, Shared};
use crate::request::Limits;
use crate::spec;

/// Why a device cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The serial number does not fit its field.
    #[error("disk serial number '{0}' is longer than 20 bytes")]
    SerialTooLong(String),
    /// A device has at least one queue.
    #[error("a block device needs at least one queue")]
    NoQueues,
}

/// A block device over a disk.
pub struct VirtioBlock {
    disk: Arc<dyn Disk>,
    /// Length that the driver is told, in bytes, and up to which it is served. The disk's, or less: what the disk has gained
    /// meanwhile is told when the device [follows](VirtioDevice::follow_backend) it.
    capacity_bytes: Arc<AtomicU64>,
    /// How the driver is told, once there is a transport.
    change: Option<ConfigChange>,
    offer: Offer,
    serial: [u8; spec::ID_SIZE],
    /// One for each queue; `None` while it is stopped.
    workers: Vec<Option<Worker<BlockHandler>>>,
    /// What the driver set in configuration space: writes may stay in the cache until a flush.
    writeback: Arc<AtomicBool>,
    pub(crate) counters: Arc<BlockCounters>,
    failures: Failures,
    /// Requests of each queue that wait while it is stopped.
    held: Vec<Vec<Chain>>,
}

impl VirtioBlock {
    /// A device with `queues` queues that serves `disk` and calls itself `serial`, at most 20 bytes.
    ///
    /// # Errors
    /// The serial number is too long, or there is no queue.
    pub fn new(disk: Arc<dyn Disk>, serial: &str, queues: u16) -> Result<VirtioBlock, BuildError> {
        let mut padded = [0; spec::ID_SIZE];
        let Some(field) = padded.get_mut(..serial.len()) else {
            return Err(BuildError::SerialTooLong(serial.to_owned()));
        };
        field.copy_from_slice(serial.as_bytes());
        if queues == 0 {
            return Err(BuildError::NoQueues);
        }
        Ok(VirtioBlock {
            offer: Offer::of(&*disk),
            capacity_bytes: Arc::new(AtomicU64::new(disk.size_bytes())),
            change: None,
            disk,
            serial: padded,
            workers: (0..queues).map(|_| None).collect(),
            writeback: Arc::new(AtomicBool::new(true)),
            counters: Arc::default(),
            failures: Failures::default(),
            held: (0..queues).map(|_| Vec::new()).collect(),
        })
    }

    /// The same device, which offers this and no more. Its disk can do it.
    pub fn offering(self, offer: Offer) -> VirtioBlock {
        VirtioBlock { offer, ..self }
    }

    /// The same device, with something done about requests that the host cannot carry out; `machine` is told of them,
    /// by the device's `id`.
    pub fn on_error(self, on_error: OnError, id: &str, machine: Arc<dyn PowerSink>) -> VirtioBlock {
        let listener = Listener { device: id.to_owned(), machine };
        VirtioBlock { failures: Failures::new(on_error, listener), ..self }
    }

    fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes.load(Ordering::SeqCst)
    }

    fn queue_count(&self) -> u16 {
        self.workers.len() as u16
    }

    /// How to treat the cache for a driver that negotiated `features` (5.2.5.2).
    fn cache(&self, features: u64) -> Cache {
        if features & spec::F_CONFIG_WCE != 0 {
            Cache::Switched(Arc::clone(&self.writeback))
        } else if features & spec::F_FLUSH != 0 {
            Cache::Writeback
        } else {
            Cache::Writethrough
        }
    }
}

impl VirtioDevice for VirtioBlock {
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }

    fn queue_sizes(&self) -> Vec<u16> {
        vec![QUEUE_SIZE; self.workers.len()]
    }

    fn features(&self) -> u64 {
        features(&*self.disk, self.offer, self.queue_count())
    }

    fn read_config(&self, offset: usize, data: &mut [u8]) {
        let writeback = self.writeback.load(Ordering::SeqCst);
        let capacity_bytes = self.capacity_bytes();
        let space = config_space(&*self.disk, capacity_bytes, self.offer, self.queue_count(), writeback);
        read_register(&space, offset, data);
    }

    /// Only `writeback` can be written.
    fn write_config(&mut self, offset: usize, data: &[u8]) {
        let written = spec::CONFIG_WRITEBACK.checked_sub(offset).and_then(|at| data.get(at));
        if let Some(writeback) = written {
            self.writeback.store(*writeback != 0, Ordering::SeqCst);
        }
    }

    fn connect_config(&mut self, change: ConfigChange) {
        self.change = Some(change);
    }

    /// Capacity "can change" (5.2.5): the driver reads the new one and hears of it, and is served up to there from now on.
    fn follow_backend(&mut self) {
        let size_bytes = self.disk.size_bytes();
        if self.capacity_bytes.swap(size_bytes, Ordering::SeqCst) != size_bytes {
            self.change.iter().for_each(ConfigChange::notify);
        }
    }

    fn start_queue(
        &mut self,
        index: u16,
        resources: QueueResources,
        features: u64,
    ) -> Result<(), StartError> {
        let Some(None) = self.workers.get(usize::from(index)) else {
            return Err(StartError::Protocol("the block device has no such queue, or it is started"));
        };
        let QueueResources { queue, kick } = resources;
        let shared = Shared {
            limits: Limits::of(&*self.disk, self.offer, features),
            capacity_bytes: Arc::clone(&self.capacity_bytes),
            serial: self.serial,
            counters: Arc::clone(&self.counters),
            cache: self.cache(features),
            failures: self.failures.clone(),
            device_disk: Arc::clone(&self.disk),
        };
        let again = kick.try_clone().map_err(StartError::Worker)?;
        let disk_queue = self.disk.open_queue().map_err(StartError::Backend)?;
        let held = std::mem::take(&mut self.held[usize::from(index)]);
        let handler = BlockHandler::new(queue, again, disk_queue, shared, held);
        let worker = Worker::start(&format!("virtio-blk q{index}"), kick, handler);
        self.workers[usize::from(index)] = Some(worker.map_err(StartError::Worker)?);
        Ok(())
    }

    fn stop_queue(&mut self, index: u16) -> Option<QueueState> {
        let handler = self.workers.get_mut(usize::from(index))?.take()?.stop();
        if handler.is_none() {
            error!(queue = index, "the queue's worker had died");
        }
        handler.map(|handler| {
            let state = handler.state();
            self.held[usize::from(index)] = handler.into_held();
            state
        })
    }

    fn reset(&mut self) {
        self.writeback.store(true, Ordering::SeqCst);
        // The driver has forgotten them.
        for held in &mut self.held {
            self.counters.count_released(held.len());
            held.clear();
        }
    }

    fn figures(&self) -> Figures {
        self.counters.figures()
    }
}

/// Saved state: what the driver can change besides rings and negotiation, and requests that wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockState {
    /// Length that the driver knows: a disk that is shorter is another disk, or is not as it was.
    size_bytes: u64,
    /// The cache mode in configuration space.
    writeback: bool,
    /// Of each queue, requests that failed and are tried again.
    held: Vec<Vec<HeldRequest>>,
}

/// A chain that was taken from its queue and is not completed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct HeldRequest {
    head: u16,
    /// Guest-physical addresses and lengths of what the device reads.
    readable: Vec<(u64, u32)>,
    /// The same of what it writes.
    writable: Vec<(u64, u32)>,
}

impl HeldRequest {
    fn of(chain: &Chain) -> HeldRequest {
        let (readable, writable) = chain.pieces();
        let plain = |pieces: &[(GuestAddress, u32)]| pieces.iter().map(|(gpa, len)| (gpa.0, *len)).collect();
        HeldRequest { head: chain.head, readable: plain(readable), writable: plain(writable) }
    }

    fn into_chain(self) -> Chain {
        let pieces =
            |plain: Vec<(u64, u32)>| plain.into_iter().map(|(gpa, len)| (GuestAddress(gpa), len)).collect();
        Chain::from_pieces(self.head, pieces(self.readable), pieces(self.writable))
    }
}

impl Snapshot for VirtioBlock {
    const VERSION: u32 = 3;
    type State = BlockState;

    fn save(&self) -> Saved<BlockState> {
        // Serial number and queues come from the machine's description; counters start anew.
        let Self {
            disk: _,
            capacity_bytes: _,
            change: _,
            offer: _,
            serial: _,
            workers: _,
            writeback,
            counters: _,
            failures: _,
            held,
        } = self;
        Saved::State(BlockState {
            size_bytes: self.capacity_bytes(),
            writeback: writeback.load(Ordering::SeqCst),
            held: held.iter().map(|queue| queue.iter().map(HeldRequest::of).collect()).collect(),
        })
    }

    fn restore(&mut self, state: BlockState) -> Result<(), SnapshotError> {
        let BlockState { size_bytes, writeback, held } = state;
        if size_bytes > self.disk.size_bytes() {
            return Err(SnapshotError::Invalid("the disk is shorter than it was"));
        }
        let fits = |queue: &Vec<HeldRequest>| {
            queue.len() <= usize::from(QUEUE_SIZE) && queue.iter().all(|request| request.head < QUEUE_SIZE)
        };
        if held.len() != self.workers.len() || !held.iter().all(fits) {
            return Err(SnapshotError::Invalid("requests that wait in queues that are not there"));
        }
        // What it has gained since is told when the device goes on.
        self.capacity_bytes.store(size_bytes, Ordering::SeqCst);
        // Where their buffers lie is looked at when they are tried again, as for any chain.
        self.held =
            held.into_iter().map(|queue| queue.into_iter().map(HeldRequest::into_chain).collect()).collect();
        self.held.iter().flatten().for_each(|_| self.counters.count_held());
        self.writeback.store(writeback, Ordering::SeqCst);
        Ok(())
    }
}
