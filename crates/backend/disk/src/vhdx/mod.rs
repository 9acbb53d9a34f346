//! VHDX images (\[MS-VHDX\], version 6.0), fixed and dynamic, for reading.
//!
//! ```text
//! file identifier ─► the newer sound header ─► region table ─┬─► metadata: block size, disk size
//!                                                            └─► BAT: an entry a block ─► block in the file
//! ```
//!
//! Refused: differencing images, and images whose log may hold changes that are not in their places yet.

mod layout;
mod metadata;

use std::io;
use std::sync::Arc;

use guest_memory::IoBuffers;

use self::layout::{Header, Regions};
use self::metadata::Metadata;
use crate::image_file::{ImageFile, fill_with_zeros};
use crate::layer::Layer;
use crate::offline::MapPiece;
use crate::qcow2::FormatError;
use crate::source::Opened;
use crate::table_pages::TablePages;

/// Bytes of a BAT entry (2.5.1).
const ENTRY_BYTES: u64 = 8;
/// Most blocks that one look goes over.
const BLOCKS_AT_ONCE: u64 = 1 << 16;

/// States of a payload block (2.5.1.1).
const NOT_PRESENT: u64 = 0;
const UNDEFINED: u64 = 1;
const ZERO: u64 = 2;
const UNMAPPED: u64 = 3;
const FULLY_PRESENT: u64 = 6;
const PARTIALLY_PRESENT: u64 = 7;
const STATE_MASK: u64 = 7;
/// Where a block is, in bytes: a number of MiB in bits 20 to 63.
const PLACE_MASK: u64 = !0xf_ffff;

struct Vhdx {
    file: Arc<dyn ImageFile>,
    file_bytes: u64,
    metadata: Metadata,
    bat_offset: u64,
    bat: TablePages,
}

/// Opens the image in `file`.
pub(crate) fn open(file: Arc<dyn ImageFile>) -> Result<Opened, FormatError> {
    let file_bytes = file.len_bytes()?;
    let header = Header::read(&*file, file_bytes)?;
    header.check_log(&*file, file_bytes)?;
    let regions = Regions::read(&*file, file_bytes)?;
    let metadata = Metadata::read(&*file, regions.metadata)?;
    if metadata.bat_entries().saturating_mul(ENTRY_BYTES) > regions.bat.length_bytes {
        return Err(FormatError::damaged("the block allocation table is too short for the disk"));
    }
    let kind = format!(
        "{}, blocks of {} MiB",
        if metadata.is_fixed { "fixed" } else { "dynamic" },
        metadata.block_bytes >> 20
    );
    let bat = TablePages::new(Arc::clone(&file), file_bytes);
    let layer = Vhdx { file, file_bytes, metadata, bat_offset: regions.bat.offset_bytes, bat };
    Ok(Opened { layer: Arc::new(layer), kind })
}

impl Vhdx {
    /// Where a block is in the file; `None` for one that reads as zeros.
    fn block_place(&self, block: u64) -> io::Result<Option<u64>> {
        let index = self.metadata.bat_index(block);
        let entry = u64::from_le_bytes(self.bat.entry(self.bat_offset + index * ENTRY_BYTES)?);
        match entry & STATE_MASK {
            NOT_PRESENT | UNDEFINED | ZERO | UNMAPPED => Ok(None),
            FULLY_PRESENT => Ok(Some(entry & PLACE_MASK)),
            PARTIALLY_PRESENT => Err(FormatError::damaged("a block is partly in a parent image").into()),
            state => Err(FormatError::damaged(format!("a block is in state {state}")).into()),
        }
    }

    fn read_block(&self, buffers: IoBuffers, block: u64, within: u64) -> io::Result<()> {
        let Some(place) = self.block_place(block)? else {
            fill_with_zeros(&buffers);
            return Ok(());
        };
        let end = place.checked_add(within + buffers.len_bytes() as u64);
        if place == 0 || end.is_none_or(|end| end > self.file_bytes) {
            return Err(FormatError::damaged("a block lies behind the end of the file").into());
        }
        self.file.read(buffers, place + within)
    }
}

impl Layer for Vhdx {
    fn size_bytes(&self) -> u64 {
        self.metadata.size_bytes
    }

    fn read(&self, buffers: &IoBuffers, offset_bytes: u64) -> io::Result<()> {
        let block_bytes = self.metadata.block_bytes;
        let mut done = 0;
        while done < buffers.len_bytes() {
            let at_bytes = offset_bytes + done as u64;
            let within = at_bytes % block_bytes;
            let length = ((block_bytes - within) as usize).min(buffers.len_bytes() - done);
            self.read_block(buffers.slice(done, length), at_bytes / block_bytes, within)?;
            done += length;
        }
        Ok(())
    }

    fn locate(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<MapPiece> {
        let block_bytes = self.metadata.block_bytes;
        let (first, end_bytes) = (offset_bytes / block_bytes, offset_bytes + length_bytes);
        let place = self.block_place(first)?;
        let mut next = first + 1;
        // Neighbours without a place are one piece.
        while place.is_none()
            && next * block_bytes < end_bytes
            && next < first + BLOCKS_AT_ONCE
            && self.block_place(next)?.is_none()
        {
            next += 1;
        }
        Ok(MapPiece {
            start_bytes: offset_bytes,
            length_bytes: (next * block_bytes).min(end_bytes) - offset_bytes,
            depth: 0,
            zero: place.is_none(),
            data: place.is_some(),
            offset_bytes: place.map(|place| place.saturating_add(offset_bytes % block_bytes)),
        })
    }
}
