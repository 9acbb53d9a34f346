//! What a block device reads from and writes to: a contract, and disks that are plain files or devices of
//! the host.
//!
//! A [`Disk`] is shared by the queues of a device; each queue opens a [`DiskQueue`] of its own, submits
//! [`DiskRequest`]s and is told of completions, in any order, by an event descriptor.
//!
//! Implemented by: [`RawDisk`] (raw files and block devices); qcow2 images and overlays will follow. Used by:
//! `virtio_block`. This crate knows no guest: memory arrives as [`IoBuffers`](guest_memory::IoBuffers).

mod contract;
mod raw;

pub use contract::{Disk, DiskCompletion, DiskOperation, DiskQueue, DiskRequest, SECTOR_SIZE};
pub use raw::{IoMethod, OpenError, RawDisk};
