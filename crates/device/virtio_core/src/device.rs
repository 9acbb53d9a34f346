//! What a virtio device has to say for itself; everything else is the transport's.

use std::io;

use device_model::{AnySnapshot, EventFd, Figures};
use serde::{Deserialize, Serialize};

use crate::{ConfigChange, Queue};

/// Device types (section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceType {
    /// Network card (5.1).
    Net = 1,
    /// Block device (5.2).
    Block = 2,
    /// Console (5.3).
    Console = 3,
    /// Entropy source (5.4).
    Rng = 4,
}

/// `VIRTIO_F_INDIRECT_DESC` (section 6): chains may live in a table of their own.
pub const VIRTIO_F_INDIRECT_DESC: u64 = 1 << 28;
/// `VIRTIO_F_EVENT_IDX` (section 6): each side says when it wants to be notified.
pub const VIRTIO_F_EVENT_IDX: u64 = 1 << 29;
/// `VIRTIO_F_VERSION_1` (section 6): the modern interface, the only one offered.
pub const VIRTIO_F_VERSION_1: u64 = 1 << 32;

/// Where a queue was stopped, to go on from there (also after a restore).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueState {
    /// Index of the next entry of the available ring to take.
    pub next_avail: u16,
    /// Index of the next entry of the used ring to fill.
    pub next_used: u16,
}

/// What a device gets to serve one queue.
pub struct QueueResources {
    /// The ring, ready to be served.
    pub queue: Queue,
    /// Signalled when the driver has made buffers available.
    pub kick: EventFd,
}

/// Why a queue could not be started. The transport tells the driver that the device needs a reset.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The host could not provide a thread or a descriptor.
    #[error("cannot start the queue's worker")]
    Worker(#[source] io::Error),
    /// The backend could not be opened for one more queue.
    #[error("cannot open the backend")]
    Backend(#[source] io::Error),
    /// The driver set the device up in a way that the specification does not allow.
    #[error("{0}")]
    Protocol(&'static str),
}

/// A virtio device, whatever the transport.
///
/// Its saved state is what the driver can change besides rings and negotiation (which the transport saves):
/// many devices are stateless in that sense.
pub trait VirtioDevice: AnySnapshot + Send {
    /// Which kind of device.
    fn device_type(&self) -> DeviceType;

    /// Largest size of each queue, a power of two up to 32768; the length is the number of queues.
    fn queue_sizes(&self) -> Vec<u16>;

    /// The device's own feature bits; the transport adds its own.
    fn features(&self) -> u64;

    /// Device configuration space as bytes (section 2.5), read by the driver at any time.
    fn read_config(&self, offset: usize, data: &mut [u8]);

    /// The driver's write to configuration space. Most fields are read-only: their writes are dropped.
    fn write_config(&mut self, offset: usize, data: &[u8]);

    /// Hands over the means to tell the driver that configuration space has changed. Called once, when the
    /// transport is built; a device whose configuration never changes has no use for it.
    fn connect_config(&mut self, _change: ConfigChange) {}

    /// Takes notice of what has changed behind the device, and tells the driver by [`ConfigChange`]: a disk has grown. Called
    /// while no access of the driver's is under way, and before the queues of a paused device start again. Most devices
    /// have nothing behind them that changes.
    fn follow_backend(&mut self) {}

    /// Starts serving queue `index` with the negotiated `features`. Called for each queue that the driver
    /// enabled, in ascending order, when it sets `DRIVER_OK`, and when a paused device resumes.
    fn start_queue(&mut self, index: u16, resources: QueueResources, features: u64)
    -> Result<(), StartError>;

    /// Stops serving queue `index`: requests in flight are finished or put back first. `None` when it was
    /// not started.
    fn stop_queue(&mut self, index: u16) -> Option<QueueState>;

    /// Forgets everything the driver did. Queues were stopped before.
    fn reset(&mut self);

    /// What the device has done since it was made. Most count nothing.
    fn figures(&self) -> Figures {
        Figures::new()
    }
}
