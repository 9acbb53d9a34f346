//! Disks in blocks of one size, each of which lies somewhere in the file or is zeros: VHDX, VHD, VDI.

use std::io;
use std::sync::Arc;

use disk::{FormatError, ImageFile, Layer, MapPiece, fill_with_zeros};
use guest_memory::IoBuffers;

/// Most blocks that one look goes over.
const BLOCKS_AT_ONCE: u64 = 1 << 16;

/// A format's table of blocks.
pub(crate) trait BlockTable: Send + Sync {
    /// Where the data of a block that is on the disk lies in the file, in bytes; `None` for one that reads as zeros.
    fn place(&self, block: u64) -> io::Result<Option<u64>>;
}

/// A disk by its table.
pub(crate) struct Blocks<T> {
    pub(crate) file: Arc<dyn ImageFile>,
    pub(crate) file_bytes: u64,
    pub(crate) size_bytes: u64,
    pub(crate) block_bytes: u64,
    pub(crate) table: T,
}

impl<T: BlockTable> Blocks<T> {
    fn read_block(&self, buffers: IoBuffers, block: u64, within: u64) -> io::Result<()> {
        let Some(place) = self.table.place(block)? else {
            fill_with_zeros(&buffers);
            return Ok(());
        };
        let end = place.checked_add(within + buffers.len_bytes() as u64);
        if end.is_none_or(|end| end > self.file_bytes) {
            return Err(FormatError::damaged("a block lies behind the end of the file").into());
        }
        self.file.read(buffers, place + within)
    }
}

impl<T: BlockTable> Layer for Blocks<T> {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read(&self, buffers: &IoBuffers, offset_bytes: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buffers.len_bytes() {
            let at_bytes = offset_bytes + done as u64;
            let within = at_bytes % self.block_bytes;
            let length = ((self.block_bytes - within) as usize).min(buffers.len_bytes() - done);
            self.read_block(buffers.slice(done, length), at_bytes / self.block_bytes, within)?;
            done += length;
        }
        Ok(())
    }

    fn locate(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<MapPiece> {
        let (first, end_bytes) = (offset_bytes / self.block_bytes, offset_bytes + length_bytes);
        let place = self.table.place(first)?;
        let mut next = first + 1;
        // Neighbours without a place are one piece.
        while place.is_none()
            && next * self.block_bytes < end_bytes
            && next < first + BLOCKS_AT_ONCE
            && self.table.place(next)?.is_none()
        {
            next += 1;
        }
        Ok(MapPiece {
            start_bytes: offset_bytes,
            length_bytes: (next * self.block_bytes).min(end_bytes) - offset_bytes,
            depth: 0,
            zero: place.is_none(),
            data: place.is_some(),
            offset_bytes: place.map(|place| place.saturating_add(offset_bytes % self.block_bytes)),
        })
    }
}
