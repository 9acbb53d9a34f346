//! A network in memory, for tests: they put packets in and look at what came out.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use host_sys::io_buffers::IoBuffers;
use host_sys::poll::{event_fd, new_event};
use vmm_sys_util::eventfd::EventFd;

use crate::{NetBackend, NetPair, Offloads};

/// Most bytes of a sent packet that are kept.
const SENT_LIMIT_BYTES: usize = 1 << 20;

/// A backend whose other end is the test. Clones are handles to the same network.
#[derive(Clone)]
pub struct FakeNet {
    pairs: Vec<Arc<FakePair>>,
    shown: Vec<Arc<dyn NetPair>>,
    settings: Arc<Mutex<Settings>>,
}

struct Settings {
    offloads: Offloads,
    active_pairs: u16,
    mtu_bytes: Option<u16>,
}

struct FakePair {
    /// Its counter is not zero while `state.incoming` has something, or reception is to fail.
    readable: EventFd,
    state: Mutex<PairState>,
}

#[derive(Default)]
struct PairState {
    incoming: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    receive_calls: u64,
    refuses: bool,
    is_gone: bool,
}

impl FakeNet {
    /// A network of `pairs` queue pairs.
    pub fn new(pairs: u16) -> io::Result<FakeNet> {
        let pairs = (0..pairs.max(1))
            .map(|_| Ok(Arc::new(FakePair { readable: new_event()?, state: Mutex::default() })))
            .collect::<io::Result<Vec<_>>>()?;
        let shown = pairs.iter().map(|pair| Arc::clone(pair) as Arc<dyn NetPair>).collect();
        let settings = Settings { offloads: Offloads::default(), active_pairs: 1, mtu_bytes: None };
        Ok(FakeNet { pairs, shown, settings: Arc::new(Mutex::new(settings)) })
    }

    /// The same network with an opinion about packet sizes.
    pub fn with_mtu_bytes(self, mtu_bytes: u16) -> FakeNet {
        lock(&self.settings).mtu_bytes = Some(mtu_bytes);
        self
    }

    /// A packet, header first, arrives on pair `index`.
    pub fn arrive(&self, index: usize, packet: &[u8]) {
        let mut state = self.pairs[index].lock();
        state.incoming.push_back(packet.to_vec());
        self.pairs[index].set_readable();
    }

    /// What was sent on pair `index` since the last call.
    pub fn take_sent(&self, index: usize) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.pairs[index].lock().sent)
    }

    /// How many packets have arrived on pair `index` and were not received yet.
    pub fn waiting(&self, index: usize) -> usize {
        self.pairs[index].lock().incoming.len()
    }

    /// How often pair `index` was asked for a packet.
    pub fn receive_calls(&self, index: usize) -> u64 {
        self.pairs[index].lock().receive_calls
    }

    /// Makes sending on pair `index` fail with `EAGAIN`, or not.
    pub fn set_refuses(&self, index: usize, refuses: bool) {
        self.pairs[index].lock().refuses = refuses;
    }

    /// Makes receiving on pair `index` fail from now on, as when an interface is deleted.
    pub fn remove(&self, index: usize) {
        self.pairs[index].lock().is_gone = true;
        self.pairs[index].set_readable();
    }

    /// What the receiver said that it accepts.
    pub fn accepted_offloads(&self) -> Offloads {
        lock(&self.settings).offloads
    }

    /// How many pairs receive.
    pub fn active_pairs(&self) -> u16 {
        lock(&self.settings).active_pairs
    }
}

impl NetBackend for FakeNet {
    fn pairs(&self) -> &[Arc<dyn NetPair>] {
        &self.shown
    }

    fn offloads(&self) -> Offloads {
        Offloads::ALL
    }

    fn set_offloads(&self, offloads: Offloads) -> io::Result<()> {
        lock(&self.settings).offloads = offloads;
        Ok(())
    }

    fn set_active_pairs(&self, count: u16) -> io::Result<()> {
        lock(&self.settings).active_pairs = count.clamp(1, self.pairs.len() as u16);
        Ok(())
    }

    fn mtu_bytes(&self) -> Option<u16> {
        lock(&self.settings).mtu_bytes
    }
}

impl FakePair {
    fn lock(&self) -> MutexGuard<'_, PairState> {
        lock(&self.state)
    }

    fn set_readable(&self) {
        // Fails only when the counter is at its end: then it is readable already.
        let _ = self.readable.write(1);
    }
}

impl NetPair for FakePair {
    fn readable(&self) -> BorrowedFd<'_> {
        event_fd(&self.readable)
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let mut state = self.lock();
        state.receive_calls += 1;
        if state.is_gone {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let packet = state.incoming.pop_front();
        if state.incoming.is_empty() {
            // Empty already when nothing had arrived.
            let _ = self.readable.read();
        }
        Ok(packet.map(|packet| {
            let len = packet.len().min(buffer.len());
            buffer[..len].copy_from_slice(&packet[..len]);
            len
        }))
    }

    fn send(&self, packet: &IoBuffers) -> io::Result<()> {
        let mut state = self.lock();
        if state.refuses {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.sent.push(packet.to_vec(SENT_LIMIT_BYTES));
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_come_out_as_they_went_in() {
        let net = FakeNet::new(2).unwrap();
        net.arrive(1, b"one");
        net.arrive(1, b"three");
        let pair = &net.pairs()[1];
        let mut buffer = [0; 4];
        assert_eq!(pair.receive(&mut buffer).unwrap(), Some(3));
        assert_eq!(pair.receive(&mut buffer).unwrap(), Some(4));
        assert_eq!(&buffer, b"thre");
        assert_eq!(pair.receive(&mut buffer).unwrap(), None);
        pair.send(&IoBuffers::from_vec(b"back".to_vec())).unwrap();
        assert_eq!(net.take_sent(1), [b"back"]);
        net.set_refuses(1, true);
        assert!(pair.send(&IoBuffers::empty()).is_err());
    }
}
