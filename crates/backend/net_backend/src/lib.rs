//! Where a virtual network card's packets come from and go to.
//!
//! [`NetBackend`] is the contract; implemented by [`Tap`], by [`Unplugged`], and by [`fake::FakeNet`] for tests. Used by
//! `virtio_net`. This crate knows neither guests nor queues of theirs: packets are bytes, each with the
//! 12-byte `virtio_net_hdr_v1` (VIRTIO 1.2, 5.1.6) before it, in both directions.

pub mod fake;
mod tap;
mod unplugged;

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use host_sys::io_buffers::IoBuffers;

pub use host_sys::tap::{Offloads, TapError};
pub use tap::Tap;
pub use unplugged::Unplugged;

/// Size of the header before each packet, in bytes.
pub const HEADER_BYTES: usize = host_sys::tap::VNET_HEADER_BYTES;

/// A network attachment with one or more pairs of queues. Methods may be called from any thread.
pub trait NetBackend: Send + Sync {
    /// The queue pairs, at least one, in order. The same at each call.
    fn pairs(&self) -> &[Arc<dyn NetPair>];

    /// What this backend can do: both what [`NetPair::send`] takes and what it can be told to hand out.
    fn offloads(&self) -> Offloads;

    /// Sets what [`NetPair::receive`] may hand out. None of it at first.
    fn set_offloads(&self, offloads: Offloads) -> io::Result<()>;

    /// Receives on the first `count` pairs only, one at first. The rest stay quiet. `count` is clamped to
    /// what there is.
    fn set_active_pairs(&self, count: u16) -> io::Result<()>;

    /// Largest packet without link header in bytes, where the backend has an opinion.
    fn mtu_bytes(&self) -> Option<u16>;
}

/// One queue pair. One thread may receive while another sends. Nothing blocks.
pub trait NetPair: Send + Sync {
    /// Readable while [`receive`](NetPair::receive) has something to hand out, or fails.
    fn readable(&self) -> BorrowedFd<'_>;

    /// Takes the next packet, header first; `None` when there is none. A packet longer than `buffer` is cut
    /// to its length. An error means that no packet will come any more.
    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>>;

    /// Sends one packet, header first. On error (a header that makes no sense, a full queue, an interface
    /// that is down) the packet is lost, as on a wire.
    fn send(&self, packet: &IoBuffers) -> io::Result<()>;
}
