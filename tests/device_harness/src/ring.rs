//! The driver's half of a split virtqueue (VIRTIO 1.2, 2.7), well-behaved by default, hostile on request.

use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

use guest_memory::{Bytes, GuestAddress, GuestMemory};
use virtio_core::QueueLayout;

use crate::{Arena, Piece};

/// One entry of a descriptor table (2.7.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Guest-physical address of the buffer.
    pub address: u64,
    /// Its length in bytes.
    pub len: u32,
    /// `NEXT`, `WRITE`, `INDIRECT`.
    pub flags: u16,
    /// Index of the next descriptor, with `NEXT`.
    pub next: u16,
}

impl Descriptor {
    /// Size in memory, in bytes.
    pub const SIZE: u64 = 16;
    /// `VIRTQ_DESC_F_NEXT`
    pub const NEXT: u16 = 1;
    /// `VIRTQ_DESC_F_WRITE`
    pub const WRITE: u16 = 2;
    /// `VIRTQ_DESC_F_INDIRECT`
    pub const INDIRECT: u16 = 4;

    /// As the device reads it.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.address.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.flags.to_le_bytes());
        bytes[14..].copy_from_slice(&self.next.to_le_bytes());
        bytes
    }
}

/// An entry of the used ring (2.7.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Head of the chain that was used.
    pub head: u32,
    /// Bytes written to its writable part.
    pub written_bytes: u32,
}

/// The driver of one ring.
pub struct RingDriver {
    memory: GuestMemory,
    layout: QueueLayout,
    free: Vec<u16>,
    in_flight: Vec<Vec<u16>>,
    next_avail: u16,
    next_used: u16,
    follows_used: bool,
}

impl RingDriver {
    /// A zeroed ring of `size` descriptors in `arena`.
    pub fn new(arena: &mut Arena, size: u16) -> RingDriver {
        let entries = u64::from(size);
        let descriptors = arena.room_at(Descriptor::SIZE * entries, 16);
        let available = arena.room_at(6 + 2 * entries, 2);
        let used = arena.room_at(6 + 8 * entries, 4);
        let layout = QueueLayout { size, descriptors, available, used };
        RingDriver {
            memory: arena.memory().clone(),
            layout,
            free: (0..size).rev().collect(),
            in_flight: vec![Vec::new(); usize::from(size)],
            next_avail: 0,
            next_used: 0,
            follows_used: true,
        }
    }

    /// Where the ring lies.
    pub fn layout(&self) -> QueueLayout {
        self.layout
    }

    /// Puts a chain together, readable buffers first, and makes it available. Returns its head.
    pub fn add(&mut self, readable: &[Piece], writable: &[Piece]) -> u16 {
        let count = readable.len() + writable.len();
        let indices: Vec<u16> = (0..count).map(|_| self.free.pop().expect("the ring is full")).collect();
        let chain = chain_of(readable, writable, |position| indices[position]);
        for (index, descriptor) in indices.iter().zip(chain) {
            self.set_descriptor(*index, descriptor);
        }
        let head = *indices.first().expect("a chain has at least one buffer");
        self.in_flight[usize::from(head)] = indices;
        self.publish(head);
        head
    }

    /// Like [`add`](RingDriver::add), with the chain in an indirect table (2.7.5.3).
    pub fn add_indirect(&mut self, arena: &mut Arena, readable: &[Piece], writable: &[Piece]) -> u16 {
        let table = chain_of(readable, writable, |position| position as u16);
        let bytes: Vec<u8> = table.iter().flat_map(|descriptor| descriptor.to_bytes()).collect();
        let (address, len) = arena.put(&bytes);
        let head = self.free.pop().expect("the ring is full");
        let flags = Descriptor::INDIRECT;
        self.set_descriptor(head, Descriptor { address: address.0, len, flags, next: 0 });
        self.in_flight[usize::from(head)] = vec![head];
        self.publish(head);
        head
    }

    /// Overwrites one descriptor, with anything.
    pub fn set_descriptor(&self, index: u16, descriptor: Descriptor) {
        let address = self.layout.descriptors.0 + Descriptor::SIZE * u64::from(index);
        self.memory
            .slots()
            .write_slice(&descriptor.to_bytes(), GuestAddress(address))
            .expect("inside the table");
    }

    /// Makes the chain at `head` available, whatever is in its descriptors.
    pub fn publish(&mut self, head: u16) {
        let slot = u64::from(self.next_avail % self.layout.size);
        self.store(self.layout.available.0 + 4 + 2 * slot, head);
        self.next_avail = self.next_avail.wrapping_add(1);
        self.set_avail_index(self.next_avail);
    }

    /// Sets `avail.idx`, to anything.
    pub fn set_avail_index(&self, index: u16) {
        fence(Ordering::SeqCst);
        self.store(self.layout.available.0 + 2, index);
        fence(Ordering::SeqCst);
    }

    /// Sets `avail.flags`: 1 asks for no interrupts (2.7.7).
    pub fn set_avail_flags(&self, flags: u16) {
        self.store(self.layout.available.0, flags);
    }

    /// Sets `avail.used_event`: an interrupt is wanted once this entry of the used ring is filled (2.7.7).
    /// Without this call it follows what is taken, so that each completion interrupts.
    pub fn set_used_event(&mut self, index: u16) {
        self.follows_used = false;
        self.store_used_event(index);
    }

    fn store_used_event(&self, index: u16) {
        self.store(self.layout.available.0 + 4 + 2 * u64::from(self.layout.size), index);
    }

    /// `used.idx`: how many chains the device has completed, modulo 2^16.
    pub fn used_index(&self) -> u16 {
        let index = self.load(self.layout.used.0 + 2);
        fence(Ordering::SeqCst);
        index
    }

    /// `used.flags`: 1 when the device wants no kicks (2.7.10).
    pub fn used_flags(&self) -> u16 {
        self.load(self.layout.used.0)
    }

    /// The next completed chain, if there is one. Its descriptors may be used again.
    pub fn take_used(&mut self) -> Option<Used> {
        if self.used_index() == self.next_used {
            return None;
        }
        let slot = u64::from(self.next_used % self.layout.size);
        let mut entry = [0; 8];
        let address = GuestAddress(self.layout.used.0 + 4 + 8 * slot);
        self.memory.slots().read_slice(&mut entry, address).expect("inside the used ring");
        self.next_used = self.next_used.wrapping_add(1);
        if self.follows_used {
            self.store_used_event(self.next_used);
        }
        let [a, b, c, d, e, f, g, h] = entry;
        let used =
            Used { head: u32::from_le_bytes([a, b, c, d]), written_bytes: u32::from_le_bytes([e, f, g, h]) };
        if let Some(chain) = self.in_flight.get_mut(used.head as usize) {
            self.free.append(chain);
        }
        Some(used)
    }

    /// Waits for the next completed chain.
    pub fn wait_used(&mut self, timeout: Duration) -> Option<Used> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(used) = self.take_used() {
                return Some(used);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    fn store(&self, address: u64, value: u16) {
        self.memory
            .slots()
            .store(value.to_le(), GuestAddress(address), Ordering::SeqCst)
            .expect("inside the ring");
    }

    fn load(&self, address: u64) -> u16 {
        u16::from_le(
            self.memory.slots().load(GuestAddress(address), Ordering::SeqCst).expect("inside the ring"),
        )
    }
}

/// The descriptors of one chain; `index_of` says where in the table each position goes.
fn chain_of(readable: &[Piece], writable: &[Piece], index_of: impl Fn(usize) -> u16) -> Vec<Descriptor> {
    let buffers = readable
        .iter()
        .map(|piece| (piece, 0))
        .chain(writable.iter().map(|piece| (piece, Descriptor::WRITE)));
    let last = (readable.len() + writable.len()).saturating_sub(1);
    buffers
        .enumerate()
        .map(|(position, ((address, len), flags))| {
            let (flags, next) =
                if position < last { (flags | Descriptor::NEXT, index_of(position + 1)) } else { (flags, 0) };
            Descriptor { address: address.0, len: *len, flags, next }
        })
        .collect()
}
