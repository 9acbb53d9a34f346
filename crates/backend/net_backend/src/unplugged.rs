//! A card that no cable is plugged into: nothing comes, and what is sent is lost.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use host_sys::io_buffers::IoBuffers;
use host_sys::poll::{event_fd, new_event};
use vmm_sys_util::eventfd::EventFd;

use crate::{NetBackend, NetPair, Offloads};

/// Nothing, behind as many queue pairs as are wanted. It can be behind any card, whatever the guest was told of that.
pub struct Unplugged {
    pairs: Vec<Arc<dyn NetPair>>,
}

/// Is never readable.
struct Silent(EventFd);

impl Unplugged {
    /// Nothing, with `pairs` queue pairs.
    ///
    /// # Errors
    /// The host has no descriptors left.
    pub fn new(pairs: u16) -> io::Result<Unplugged> {
        let pair = |_| Ok(Arc::new(Silent(new_event()?)) as Arc<dyn NetPair>);
        Ok(Unplugged { pairs: (0..pairs.max(1)).map(pair).collect::<io::Result<_>>()? })
    }
}

impl NetBackend for Unplugged {
    fn pairs(&self) -> &[Arc<dyn NetPair>] {
        &self.pairs
    }

    fn offloads(&self) -> Offloads {
        Offloads::ALL
    }

    fn set_offloads(&self, _offloads: Offloads) -> io::Result<()> {
        Ok(())
    }

    fn set_active_pairs(&self, _count: u16) -> io::Result<()> {
        Ok(())
    }

    fn mtu_bytes(&self) -> Option<u16> {
        None
    }
}

impl NetPair for Silent {
    fn readable(&self) -> BorrowedFd<'_> {
        event_fd(&self.0)
    }

    fn receive(&self, _buffer: &mut [u8]) -> io::Result<Option<usize>> {
        Ok(None)
    }

    fn send(&self, _packet: &IoBuffers) -> io::Result<()> {
        Ok(())
    }
}
