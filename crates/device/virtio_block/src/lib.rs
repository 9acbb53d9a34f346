//! Block device (VIRTIO 1.2, 5.2) over any [`disk::Disk`].
//!
//! ```text
//! kick ─► handler ─► request::parse ─► DiskQueue ··completion··► handler ─► status, used ring, interrupt
//!                         └─refused────────────────────────────────┘
//! ```
//!
//! What the host cannot do is told of, and held or answered with an error (`failures`).
//!
//! Each queue has a worker and a disk queue of its own. Requests complete in whatever order the disk finishes
//! them; a driver that needs an order waits, or flushes.

mod config;
mod counters;
mod device;
mod failures;
mod handler;
mod request;
mod spec;

pub use config::Offer;
pub use device::{BuildError, VirtioBlock};
pub use failures::OnError;
pub use request::{Limits, Part, Refusal, Request, parse};

#[cfg(test)]
mod tests;
