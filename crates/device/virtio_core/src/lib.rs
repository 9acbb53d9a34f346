//! Virtio once for all devices: rings, negotiation, the modern PCI transport, and the thread that serves a
//! queue. Sections are those of the Virtual I/O Device (VIRTIO) specification, version 1.2.
//!
//! A device implements [`VirtioDevice`] and serves each queue in a [`QueueHandler`]; it sees neither the
//! transport nor the bus. Implemented by: `virtio_block`, `virtio_net`, `virtio_rng`, `virtio_console`.

mod chain;
mod chain_server;
mod config_change;
mod device;
mod queue;
mod transport;
mod worker;

pub use chain::{Chain, ChainError, Pieces};
pub use chain_server::{AnswerChain, ChainServer};
pub use config_change::{ConfigChange, ConfigInterrupt};
pub use device::{
    DeviceType, QueueResources, QueueState, StartError, VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC,
    VIRTIO_F_VERSION_1, VirtioDevice,
};
pub use queue::{BadLayout, Queue, QueueInterrupt, QueueLayout};
pub use transport::{VirtioPci, VirtioPciState, spec};
pub use worker::{QueueHandler, Worker};
