//! One request: the buffers that a driver chained together.

use guest_memory::{Bytes, GuestAddress, GuestMemory, GuestMemoryError, IoBuffers, Ram};
use virtio_queue::DescriptorChain;

/// A descriptor chain taken from a queue, its buffers sorted into those the device reads and those it
/// writes. Lengths come from the guest: each access is checked against RAM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Index to hand back on completion.
    pub head: u16,
    readable: Vec<(GuestAddress, u32)>,
    writable: Vec<(GuestAddress, u32)>,
}

/// Buffers in guest memory: where each is, and its length in bytes.
pub type Pieces<'a> = &'a [(GuestAddress, u32)];

/// The guest's buffers do not hold what the request needs.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The buffers end before the bytes asked for.
    #[error("request is too short")]
    TooShort,
    /// A buffer lies outside RAM.
    #[error("request points outside guest memory")]
    Memory(#[from] GuestMemoryError),
}

/// Most buffers of a chain that are looked at. An indirect table can describe 65535, and a driver can have
/// as many such chains in flight as the ring has entries; real drivers stay below the 1024 of the host's
/// vectored I/O.
const MAX_PIECES: usize = 2048;

impl Chain {
    /// Walks the descriptors. A writable buffer before a readable one breaks 2.7.4.2: the walk ends there.
    pub(crate) fn collect(chain: DescriptorChain<&Ram>) -> Chain {
        let mut out = Chain { head: chain.head_index(), ..Chain::default() };
        for descriptor in chain.take(MAX_PIECES) {
            let piece = (descriptor.addr(), descriptor.len());
            if descriptor.is_write_only() {
                out.writable.push(piece);
            } else if out.writable.is_empty() {
                out.readable.push(piece);
            } else {
                break;
            }
        }
        out
    }

    /// Where the buffers are: those that the device reads, then those that it writes.
    pub fn pieces(&self) -> (Pieces<'_>, Pieces<'_>) {
        (&self.readable, &self.writable)
    }

    /// A chain that was taken from a queue earlier, or made by hand for tests. Its head must be one that the driver waits
    /// for.
    pub fn from_pieces(
        head: u16,
        readable: Vec<(GuestAddress, u32)>,
        writable: Vec<(GuestAddress, u32)>,
    ) -> Chain {
        Chain { head, readable, writable }
    }

    /// Bytes that the device may read.
    pub fn readable_bytes(&self) -> u64 {
        self.readable.iter().map(|(_, len)| u64::from(*len)).sum()
    }

    /// Bytes that the device may write.
    pub fn writable_bytes(&self) -> u64 {
        self.writable.iter().map(|(_, len)| u64::from(*len)).sum()
    }

    /// Fills `data` from the readable part at `offset`.
    pub fn read(&self, memory: &GuestMemory, offset: u64, data: &mut [u8]) -> Result<(), ChainError> {
        let mut done = 0;
        for (gpa, len) in window(&self.readable, offset, data.len() as u64)? {
            memory.slots().read_slice(&mut data[done..done + len as usize], gpa)?;
            done += len as usize;
        }
        Ok(())
    }

    /// Writes `data` to the writable part at `offset`.
    pub fn write(&self, memory: &GuestMemory, offset: u64, data: &[u8]) -> Result<(), ChainError> {
        let mut done = 0;
        for (gpa, len) in window(&self.writable, offset, data.len() as u64)? {
            memory.slots().write_slice(&data[done..done + len as usize], gpa)?;
            done += len as usize;
        }
        Ok(())
    }

    /// Host buffers for `len` readable bytes at `offset`, for the kernel to read from.
    pub fn readable_buffers(
        &self,
        memory: &GuestMemory,
        offset: u64,
        len: u64,
    ) -> Result<IoBuffers, ChainError> {
        Ok(memory.io_buffers(window(&self.readable, offset, len)?, false)?)
    }

    /// Host buffers for `len` writable bytes at `offset`, for the kernel to write to.
    pub fn writable_buffers(
        &self,
        memory: &GuestMemory,
        offset: u64,
        len: u64,
    ) -> Result<IoBuffers, ChainError> {
        Ok(memory.io_buffers(window(&self.writable, offset, len)?, true)?)
    }
}

/// The part of `pieces` that covers `len` bytes from `offset`.
fn window(
    pieces: &[(GuestAddress, u32)],
    offset: u64,
    len: u64,
) -> Result<Vec<(GuestAddress, u32)>, ChainError> {
    let (mut skip, mut want) = (offset, len);
    let mut out = Vec::with_capacity(pieces.len());
    for (gpa, piece_len) in pieces {
        if want == 0 {
            break;
        }
        let piece_len = u64::from(*piece_len);
        if skip >= piece_len {
            skip -= piece_len;
            continue;
        }
        let take = (piece_len - skip).min(want);
        // An address that wraps is outside RAM; `u64::MAX` is, too, and fails the access that follows.
        let start = gpa.0.saturating_add(skip);
        out.push((GuestAddress(start), take as u32));
        (skip, want) = (0, want - take);
    }
    if want == 0 { Ok(out) } else { Err(ChainError::TooShort) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_cuts_across_pieces() {
        let pieces = [(GuestAddress(0x1000), 4), (GuestAddress(0x2000), 0), (GuestAddress(0x3000), 8)];
        let cut = window(&pieces, 2, 5).unwrap();
        assert_eq!(cut, [(GuestAddress(0x1002), 2), (GuestAddress(0x3000), 3)]);
        assert!(window(&pieces, 0, 12).is_ok());
        assert!(matches!(window(&pieces, 1, 12), Err(ChainError::TooShort)));
        assert!(window(&pieces, 12, 0).unwrap().is_empty());
        assert_eq!(window(&[(GuestAddress(u64::MAX), 8)], 4, 2).unwrap()[0].0.0, u64::MAX);
    }
}
