//! Guest RAM with everything that can go wrong in it: two regions that touch, a hole, a third region.

use guest_memory::{Bytes, GpaRange, GuestAddress, GuestMemory, Policy};

const SIZE_BYTES: u64 = 0x1_0000;
/// First region.
pub const LOW: GpaRange = GpaRange { start: GuestAddress(0), size_bytes: SIZE_BYTES };
/// Second region, right behind the first.
pub const SECOND: GpaRange = GpaRange { start: GuestAddress(SIZE_BYTES), size_bytes: SIZE_BYTES };
/// Where no RAM is: the first byte behind the second region.
pub const HOLE: u64 = 2 * SIZE_BYTES;
/// Third region.
pub const HIGH: GpaRange = GpaRange { start: GuestAddress(0x10_0000), size_bytes: SIZE_BYTES };

/// Fresh, zeroed RAM.
pub fn allocate() -> GuestMemory {
    let policy = Policy { huge_pages: false, ..Policy::default() };
    GuestMemory::allocate(&[LOW, SECOND, HIGH], policy).expect("RAM is small")
}

/// The guest's store. Where there is no RAM it goes nowhere.
pub fn store(memory: &GuestMemory, address: u64, data: &[u8]) {
    // What lies in RAM is written up to its end, as stores are.
    let _ = memory.slots().write(data, GuestAddress(address));
}
