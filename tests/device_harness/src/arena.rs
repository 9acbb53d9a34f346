//! Guest RAM for tests, handed out piece by piece.

use guest_memory::{Bytes, GpaRange, GuestAddress, GuestMemory, Policy};

/// A buffer in guest memory: address and length in bytes, as [`virtio_core::Chain::from_pieces`] takes it.
pub type Piece = (GuestAddress, u32);

/// RAM from guest-physical address 0, with a cursor that hands it out from [`Arena::FIRST`] upwards.
pub struct Arena {
    memory: GuestMemory,
    next: u64,
}

impl Arena {
    /// First address handed out: page 0 stays unused, as an address of zero is often a mistake.
    pub const FIRST: u64 = 0x1000;

    /// `size_bytes` of RAM at address 0.
    pub fn new(size_bytes: u64) -> Arena {
        let ram = GpaRange { start: GuestAddress(0), size_bytes };
        let policy = Policy { huge_pages: false, ..Policy::default() };
        let memory = GuestMemory::allocate(&[ram], policy).expect("test RAM is small");
        Arena { memory, next: Arena::FIRST }
    }

    /// The RAM itself.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// Fresh zeroed room of `size_bytes`, at a multiple of `align`.
    pub fn room_at(&mut self, size_bytes: u64, align: u64) -> GuestAddress {
        let start = self.next.next_multiple_of(align);
        self.next = start + size_bytes;
        assert!(
            self.next <= self.memory.slots().size_bytes(),
            "the test needs more RAM: make a larger arena"
        );
        GuestAddress(start)
    }

    /// Fresh zeroed room for a buffer.
    pub fn room(&mut self, len: u32) -> Piece {
        (self.room_at(u64::from(len), 16), len)
    }

    /// A buffer that holds `data`.
    pub fn put(&mut self, data: &[u8]) -> Piece {
        let piece = self.room(u32::try_from(data.len()).expect("test buffers are small"));
        self.write(piece.0, data);
        piece
    }

    /// Buffers that hold each of `contents`.
    pub fn put_each(&mut self, contents: &[&[u8]]) -> Vec<Piece> {
        contents.iter().map(|data| self.put(data)).collect()
    }

    /// Fresh buffers of each of `lens` bytes.
    pub fn room_each(&mut self, lens: &[u32]) -> Vec<Piece> {
        lens.iter().map(|len| self.room(*len)).collect()
    }

    /// The contents of `pieces`, joined.
    pub fn gather(&self, pieces: &[Piece]) -> Vec<u8> {
        pieces.iter().flat_map(|piece| self.get(*piece)).collect()
    }

    /// Writes `data` at `gpa`, as a store of the guest's would.
    pub fn write(&self, gpa: GuestAddress, data: &[u8]) {
        self.memory.slots().write_slice(data, gpa).expect("the test writes inside RAM");
    }

    /// The `len` bytes at `gpa`.
    pub fn read(&self, gpa: GuestAddress, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        self.memory.slots().read_slice(&mut data, gpa).expect("the test reads inside RAM");
        data
    }

    /// The contents of a buffer.
    pub fn get(&self, piece: Piece) -> Vec<u8> {
        self.read(piece.0, piece.1 as usize)
    }

    /// Where the next buffer would lie: to be given back to [`release`](Arena::release).
    pub fn mark(&self) -> u64 {
        self.next
    }

    /// Forgets everything handed out since [`mark`](Arena::mark). The room is not zeroed again.
    pub fn release(&mut self, mark: u64) {
        self.next = mark.max(Arena::FIRST);
    }
}
