//! The card as the transport sees it.

use std::io;
use std::sync::{Arc, Mutex};

use device_model::{Figures, Saved, Snapshot, SnapshotError, lock, read_register};
use net_backend::{NetBackend, Offloads};
use virtio_core::{ChainServer, DeviceType, QueueResources, QueueState, StartError, VirtioDevice, Worker};

use crate::control::Executor;
use crate::receive::Receive;
use crate::spec::{
    F_CSUM, F_CTRL_GUEST_OFFLOADS, F_CTRL_MAC_ADDR, F_CTRL_RX, F_CTRL_VQ, F_GUEST_CSUM, F_GUEST_ECN,
    F_GUEST_TSO4, F_GUEST_TSO6, F_HOST_ECN, F_HOST_TSO4, F_HOST_TSO6, F_MAC, F_MQ, F_MRG_RXBUF, F_MTU,
    F_STATUS, MTU_MIN_BYTES, PAIRS_MAX, S_LINK_UP,
};
use crate::transmit::Transmit;
use crate::{MacAddress, NetCounters, NetState};

/// Descriptors of a receive or transmit ring.
const DATA_QUEUE_SIZE: u16 = 256;
/// Descriptors of the control ring.
const CONTROL_QUEUE_SIZE: u16 = 64;

/// What a card offers of what its backend can do, and says of its network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Work that it takes over.
    pub offloads: Offloads,
    /// Largest packet without link header in bytes, where it says so.
    pub mtu_bytes: Option<u16>,
}

impl Offer {
    /// All that `backend` can do, and says.
    pub fn of(backend: &dyn NetBackend) -> Offer {
        let mtu_bytes = backend.mtu_bytes().filter(|mtu| *mtu >= MTU_MIN_BYTES);
        Offer { offloads: backend.offloads(), mtu_bytes }
    }
}

/// A network card.
pub struct VirtioNet {
    backend: Arc<dyn NetBackend>,
    offer: Offer,
    pairs: u16,
    mac: MacAddress,
    settings: Arc<Mutex<NetState>>,
    pub(crate) counters: Arc<NetCounters>,
    workers: Vec<Option<RunningQueue>>,
}

enum RunningQueue {
    Receive(Worker<Receive>),
    Transmit(Worker<ChainServer<Transmit>>),
    Control(Worker<ChainServer<Executor>>),
    /// Enabled by the driver, but for nothing: nobody serves it.
    Idle(QueueState),
}

/// What a queue is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Receive(u16),
    Transmit(u16),
    Control,
}

impl VirtioNet {
    /// A card with address `mac` and `pairs` queue pairs; as many as `backend` has if it has fewer, and at
    /// least one.
    pub fn new(backend: Arc<dyn NetBackend>, mac: MacAddress, pairs: u16) -> VirtioNet {
        let available = u16::try_from(backend.pairs().len()).unwrap_or(PAIRS_MAX).min(PAIRS_MAX - 1);
        let pairs = pairs.min(available).max(1);
        VirtioNet {
            offer: Offer::of(&*backend),
            backend,
            pairs,
            mac,
            settings: Arc::new(Mutex::new(NetState::initial(mac))),
            counters: Arc::default(),
            workers: (0..=2 * pairs).map(|_| None).collect(),
        }
    }

    /// The same card, which offers this and no more. Its backend can do it.
    pub fn offering(self, offer: Offer) -> VirtioNet {
        VirtioNet { offer, ..self }
    }

    /// Without `F_MQ` there is one pair, and the control queue comes right after it (5.1.2).
    fn role(&self, index: u16, features: u64) -> Option<Role> {
        let pairs = if features & F_MQ != 0 { self.pairs } else { 1 };
        match index {
            _ if index == 2 * pairs => Some(Role::Control),
            _ if index > 2 * pairs => None,
            _ if index.is_multiple_of(2) => Some(Role::Receive(index / 2)),
            _ => Some(Role::Transmit(index / 2)),
        }
    }

    /// Tells the backend what the driver has negotiated and set.
    fn apply_settings(&self, features: u64) -> io::Result<()> {
        let settings = lock(&self.settings);
        self.backend.set_offloads(settings.accepted_offloads(features))?;
        self.backend.set_active_pairs(settings.active_pairs)
    }

    fn start_worker(&self, role: Role, resources: QueueResources, features: u64) -> io::Result<RunningQueue> {
        let counters = Arc::clone(&self.counters);
        // `role` names no pair beyond `pairs`, and the backend has as many.
        let pair = |index: u16| Arc::clone(&self.backend.pairs()[usize::from(index)]);
        match role {
            Role::Receive(index) => {
                let (kick, handler) = Receive::new(resources, pair(index), counters, features)?;
                Worker::start(&format!("net-rx{index}"), kick, handler).map(RunningQueue::Receive)
            }
            Role::Transmit(index) => {
                let transmit = Transmit { pair: pair(index), counters, features };
                let (kick, handler) = ChainServer::new(resources, transmit)?;
                Worker::start(&format!("net-tx{index}"), kick, handler).map(RunningQueue::Transmit)
            }
            Role::Control => {
                let (settings, backend) = (Arc::clone(&self.settings), Arc::clone(&self.backend));
                let executor = Executor { settings, backend, pairs: self.pairs, features };
                let (kick, handler) = ChainServer::new(resources, executor)?;
                Worker::start("net-ctrl", kick, handler).map(RunningQueue::Control)
            }
        }
    }
}

impl VirtioDevice for VirtioNet {
    fn device_type(&self) -> DeviceType {
        DeviceType::Net
    }

    fn queue_sizes(&self) -> Vec<u16> {
        let mut sizes = vec![DATA_QUEUE_SIZE; 2 * usize::from(self.pairs)];
        sizes.push(CONTROL_QUEUE_SIZE);
        sizes
    }

    fn features(&self) -> u64 {
        let Offer { offloads, mtu_bytes } = self.offer;
        let always = F_MAC | F_STATUS | F_MRG_RXBUF | F_CTRL_VQ | F_CTRL_RX | F_CTRL_MAC_ADDR;
        [
            (mtu_bytes.is_some(), F_MTU),
            (self.pairs > 1, F_MQ),
            (offloads.checksum, F_CSUM | F_GUEST_CSUM | F_CTRL_GUEST_OFFLOADS),
            (offloads.tso4, F_HOST_TSO4 | F_GUEST_TSO4),
            (offloads.tso6, F_HOST_TSO6 | F_GUEST_TSO6),
            (offloads.tso_ecn, F_HOST_ECN | F_GUEST_ECN),
        ]
        .into_iter()
        .filter(|(offered, _)| *offered)
        .fold(always, |features, (_, bits)| features | bits)
    }

    /// `struct virtio_net_config` (5.1.4).
    fn read_config(&self, offset: usize, data: &mut [u8]) {
        let mut config = [0; 12];
        config[..6].copy_from_slice(&<[u8; 6]>::from(lock(&self.settings).mac));
        config[6..8].copy_from_slice(&S_LINK_UP.to_le_bytes());
        config[8..10].copy_from_slice(&self.pairs.to_le_bytes());
        config[10..].copy_from_slice(&self.offer.mtu_bytes.unwrap_or(0).to_le_bytes());
        read_register(&config, offset, data);
    }

    /// Nothing is writable: the address is set on the control queue.
    fn write_config(&mut self, _offset: usize, _data: &[u8]) {}

    fn start_queue(
        &mut self,
        index: u16,
        resources: QueueResources,
        features: u64,
    ) -> Result<(), StartError> {
        let role = self.role(index, features);
        if role == Some(Role::Receive(0)) {
            self.apply_settings(features).map_err(StartError::Backend)?;
        }
        let running = match role {
            Some(role) => self.start_worker(role, resources, features).map_err(StartError::Worker)?,
            None => RunningQueue::Idle(resources.queue.state()),
        };
        self.workers[usize::from(index)] = Some(running);
        Ok(())
    }

    fn stop_queue(&mut self, index: u16) -> Option<QueueState> {
        let worker = self.workers.get_mut(usize::from(index))?.take()?;
        let state = match worker {
            RunningQueue::Receive(worker) => worker.stop()?.queue.state(),
            RunningQueue::Transmit(worker) => worker.stop()?.queue().state(),
            RunningQueue::Control(worker) => worker.stop()?.queue().state(),
            RunningQueue::Idle(state) => state,
        };
        Some(state)
    }

    fn reset(&mut self) {
        *lock(&self.settings) = NetState::initial(self.mac);
        if let Err(error) = self.apply_settings(0) {
            // The driver's next start applies them again, and fails if it has to.
            tracing::warn!(%error, "network backend cannot be reset");
        }
    }

    fn figures(&self) -> Figures {
        self.counters.figures()
    }
}

impl Snapshot for VirtioNet {
    const VERSION: u32 = 1;
    type State = NetState;

    fn save(&self) -> Saved<NetState> {
        let Self { backend: _, offer: _, pairs: _, mac: _, settings, counters: _, workers: _ } = self;
        Saved::State(lock(settings).clone())
    }

    fn restore(&mut self, state: NetState) -> Result<(), SnapshotError> {
        state.check(self.pairs)?;
        // The backend hears of it when the queues start.
        *lock(&self.settings) = state;
        Ok(())
    }
}
