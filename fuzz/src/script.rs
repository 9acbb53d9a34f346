//! Inputs as scripts: numbers read from the front.

use guest_memory::GuestAddress;

use crate::ram;

/// Most operations of a script: what comes behind them is not looked at.
const MAX_OPERATIONS: usize = 256;

/// Reads an input from the front. Behind its end everything is zero.
pub struct Script<'a> {
    rest: &'a [u8],
    operations: usize,
}

impl<'a> Script<'a> {
    /// From the beginning of `data`.
    pub fn new(data: &'a [u8]) -> Script<'a> {
        Script { rest: data, operations: 0 }
    }

    /// The next operation, a number below `count`; `None` at the end.
    pub fn operation(&mut self, count: u8) -> Option<u8> {
        self.operations += 1;
        (!self.rest.is_empty() && self.operations <= MAX_OPERATIONS).then(|| self.u8() % count)
    }

    /// The next bytes: as many as there are, at most `len`.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        bytes
    }

    /// Everything that is left.
    pub fn remaining(&mut self) -> &'a [u8] {
        self.bytes(usize::MAX)
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let bytes = self.bytes(N);
        array[..bytes.len()].copy_from_slice(bytes);
        array
    }

    /// A byte.
    pub fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// A guest-physical address, in three bytes: in RAM as a rule, else near an edge or far away.
    pub fn gpa(&mut self) -> GuestAddress {
        let (place, offset) = (self.u8(), u64::from(self.u16()));
        GuestAddress(match place & 7 {
            0..=2 => offset,
            3 => ram::SECOND.start.0 + offset,
            4 => ram::HIGH.start.0 + offset,
            5 => ram::SECOND.start.0 - offset % 64,
            6 => ram::HOLE + offset,
            _ => u64::MAX - offset,
        })
    }
}

/// Writes scripts, for seeds.
#[derive(Clone, Default)]
pub struct Notation(Vec<u8>);

impl Notation {
    /// An empty script.
    pub fn new() -> Notation {
        Notation::default()
    }

    /// Appends bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Notation {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends a byte, or an operation.
    #[must_use]
    pub fn u8(self, value: u8) -> Notation {
        self.bytes(&[value])
    }

    /// Appends two bytes.
    #[must_use]
    pub fn u16(self, value: u16) -> Notation {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends four bytes.
    #[must_use]
    pub fn u32(self, value: u32) -> Notation {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends an address below 64 KiB.
    #[must_use]
    pub fn gpa(self, address: u16) -> Notation {
        self.u8(0).u16(address)
    }

    /// The script.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}
