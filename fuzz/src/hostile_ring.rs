//! The driver's half of a ring that follows no rules: a script says what it does.

use device_harness::Descriptor;
use guest_memory::{GuestAddress, GuestMemory};
use virtio_core::QueueLayout;

use crate::ram::store;
use crate::{Notation, Script};

/// Adds a chain and makes it available.
pub const CHAIN: u8 = 0;
/// Overwrites a descriptor.
pub const DESCRIPTOR: u8 = 1;
/// Makes a head available.
pub const PUBLISH: u8 = 2;
/// Sets `avail.idx`.
pub const AVAIL_INDEX: u8 = 3;
/// Sets `avail.flags` and `avail.used_event`.
pub const NOTIFICATION: u8 = 4;
/// Writes anywhere in RAM.
pub const STORE: u8 = 5;
/// How many operations there are.
pub const COUNT: u8 = 6;

/// Descriptors of a ring that the script did not place.
const SIZE: u16 = 16;
/// Room for one such ring.
const ROOM: u64 = 0x400;

/// Tag of a piece: the device writes it.
const TAG_WRITE: u8 = 1;
/// Tag of a piece: its contents follow.
const TAG_INLINE: u8 = 2;
/// Tag of a piece: its length has 32 bits.
const TAG_LONG: u8 = 4;
/// Tag of a chain: in an indirect table.
const CHAIN_INDIRECT: u8 = 0x80;

/// A ring and how far its driver is.
#[derive(Clone, Debug)]
pub struct HostileRing {
    /// Where it is.
    pub layout: QueueLayout,
    next_descriptor: u16,
    next_avail: u16,
}

impl HostileRing {
    /// Ring number `index`, placed as a decent driver would.
    pub fn decent(index: u16) -> HostileRing {
        let base = ROOM * u64::from(index % 16);
        HostileRing::at(QueueLayout {
            size: SIZE,
            descriptors: GuestAddress(base),
            available: GuestAddress(base + 0x200),
            used: GuestAddress(base + 0x300),
        })
    }

    /// A ring placed by the script.
    pub fn placed(script: &mut Script<'_>) -> HostileRing {
        let size = match script.u8() {
            exponent @ 0..=15 => 1 << exponent,
            0x10..=0x7f => SIZE,
            _ => script.u16(),
        };
        let (descriptors, available, used) = (script.gpa(), script.gpa(), script.gpa());
        HostileRing::at(QueueLayout { size, descriptors, available, used })
    }

    fn at(layout: QueueLayout) -> HostileRing {
        HostileRing { layout, next_descriptor: 0, next_avail: 0 }
    }

    /// Starts counting from the beginning, as after a reset.
    pub fn restart(&mut self) {
        *self = HostileRing::at(self.layout);
    }

    /// Does operation `operation` of those above.
    pub fn act(&mut self, operation: u8, memory: &GuestMemory, script: &mut Script<'_>) {
        match operation {
            CHAIN => self.add_chain(memory, script),
            DESCRIPTOR => {
                let index = script.u16();
                let address = script.gpa().0;
                let (len, flags, next) = (script.u32(), script.u16(), script.u16());
                self.set_descriptor(memory, index, Descriptor { address, len, flags, next });
            }
            PUBLISH => {
                let head = script.u16();
                self.publish(memory, head);
            }
            AVAIL_INDEX => {
                self.next_avail = script.u16();
                self.set_avail_index(memory);
            }
            NOTIFICATION => {
                let (flags, used_event) = (script.u16(), script.u16());
                let available = self.layout.available.0;
                store(memory, available, &flags.to_le_bytes());
                let event = available.wrapping_add(4 + 2 * u64::from(self.layout.size));
                store(memory, event, &used_event.to_le_bytes());
            }
            STORE.. => {
                let address = script.gpa().0;
                let len = usize::from(script.u8());
                store(memory, address, script.bytes(len));
            }
        }
    }

    /// One to sixteen pieces, in the table or in an indirect one.
    fn add_chain(&mut self, memory: &GuestMemory, script: &mut Script<'_>) {
        let tag = script.u8();
        let indirect = tag & CHAIN_INDIRECT != 0;
        let table = indirect.then(|| script.gpa().0);
        let count = u16::from(tag & 15) + 1;
        let head = self.next_descriptor;
        for position in 0..count {
            let more = if position + 1 < count { Descriptor::NEXT } else { 0 };
            let mut descriptor = piece(memory, script);
            descriptor.flags |= more;
            match table {
                Some(table) => {
                    descriptor.next = position + 1;
                    let at = table.wrapping_add(Descriptor::SIZE * u64::from(position));
                    store(memory, at, &descriptor.to_bytes());
                }
                None => {
                    let index = self.take_descriptor();
                    descriptor.next = self.next_descriptor;
                    self.set_descriptor(memory, index, descriptor);
                }
            }
        }
        if let Some(address) = table {
            let len = u32::from(count) * Descriptor::SIZE as u32;
            let index = self.take_descriptor();
            let flags = Descriptor::INDIRECT;
            self.set_descriptor(memory, index, Descriptor { address, len, flags, next: 0 });
        }
        self.publish(memory, head);
    }

    fn take_descriptor(&mut self) -> u16 {
        let index = self.next_descriptor;
        self.next_descriptor = (index + 1) % self.layout.size.max(1);
        index
    }

    fn set_descriptor(&self, memory: &GuestMemory, index: u16, descriptor: Descriptor) {
        let at = self.layout.descriptors.0.wrapping_add(Descriptor::SIZE * u64::from(index));
        store(memory, at, &descriptor.to_bytes());
    }

    fn publish(&mut self, memory: &GuestMemory, head: u16) {
        let slot = u64::from(self.next_avail % self.layout.size.max(1));
        store(memory, self.layout.available.0.wrapping_add(4 + 2 * slot), &head.to_le_bytes());
        self.next_avail = self.next_avail.wrapping_add(1);
        self.set_avail_index(memory);
    }

    fn set_avail_index(&self, memory: &GuestMemory) {
        store(memory, self.layout.available.0.wrapping_add(2), &self.next_avail.to_le_bytes());
    }
}

/// One piece of a chain: tag, address, length, and its contents if the tag says so.
fn piece(memory: &GuestMemory, script: &mut Script<'_>) -> Descriptor {
    let tag = script.u8();
    let address = script.gpa().0;
    let len = if tag & TAG_LONG != 0 { script.u32() } else { script.u16().into() };
    if tag & TAG_INLINE != 0 {
        store(memory, address, script.bytes(len.min(1024) as usize));
    }
    let flags = if tag & TAG_WRITE != 0 { Descriptor::WRITE } else { 0 };
    Descriptor { address, len, flags, next: 0 }
}

/// A piece of a chain in a seed.
#[derive(Clone, Copy)]
pub enum SeedPiece<'a> {
    /// The device reads this, at this address.
    Read(u16, &'a [u8]),
    /// The device writes so many bytes at this address.
    Write(u16, u16),
}

/// Notes a chain's operands; the operation comes before.
pub fn note_chain(script: Notation, indirect_table: Option<u16>, pieces: &[SeedPiece<'_>]) -> Notation {
    let count = pieces.len() as u8 - 1;
    let script = match indirect_table {
        Some(table) => script.u8(count | CHAIN_INDIRECT).gpa(table),
        None => script.u8(count),
    };
    pieces.iter().fold(script, |script, piece| match piece {
        SeedPiece::Read(address, data) => {
            script.u8(TAG_INLINE).gpa(*address).u16(data.len() as u16).bytes(data)
        }
        SeedPiece::Write(address, len) => script.u8(TAG_WRITE).gpa(*address).u16(*len),
    })
}
