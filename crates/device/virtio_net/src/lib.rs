//! The network card (VIRTIO 1.2, 5.1): packets between a driver's queues and a [`NetBackend`].
//!
//! ```text
//! queue 2i    ──► receive  ◄── pair i of the backend     one thread each
//! queue 2i+1  ──► transmit ──► pair i of the backend     one thread each
//! last queue  ──► control: address, receive modes, number of pairs, offloads
//! ```
//!
//! Checksums and segmentation are the backend's: the header before each packet is passed on, and what the
//! driver negotiated is told to the backend. The card does not filter by address: the backend hands out
//! what is meant for it, and more than was asked for is allowed (5.1.6.5.1).
//!
//! Lock order: `Settings` is a leaf. It is held while the backend is told, so that the two agree.

mod control;
mod counters;
mod device;
mod receive;
mod settings;
mod spec;
mod transmit;

use counters::NetCounters;
pub use device::{Offer, VirtioNet};
pub use device_model::MacAddress;
pub use net_backend::NetBackend;
pub use settings::NetState;

#[cfg(test)]
mod tests;
