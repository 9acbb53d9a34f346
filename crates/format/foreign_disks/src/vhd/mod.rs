//! VHD images (Microsoft's "Virtual Hard Disk Image Format Specification", version 1.0), fixed and dynamic, for reading.
//!
//! ```text
//! fixed:    data, footer
//! dynamic:  copy of the footer ─► header ─► BAT: an entry a block ─► bitmap and data of the block; footer
//! ```
//!
//! The bitmap in front of a block says which of its sectors were written. What was not is zeros in the file as well, and
//! some programs write bitmaps that say less than is there: the data is read without asking them, as QEMU does.
//!
//! Refused: differencing images.

mod footer;

use std::io;
use std::sync::Arc;

use disk::{FormatError, ImageFile, Layer, MapPiece, RawLayer, SECTOR_SIZE, read_vec};
use guest_memory::IoBuffers;

use self::footer::{Footer, is_sound, u32_at, u64_at};
use crate::blocks::{BlockTable, Blocks};
use crate::opened::Opened;
use crate::table_pages::TablePages;

/// "Dynamic Disk Header Format".
const HEADER_BYTES: usize = 1024;
const HEADER_COOKIE: &[u8; 8] = b"cxsparse";
const CHECKSUM_AT: usize = 36;
const BLOCK_BYTES_MAX: u64 = 256 << 20;
/// "Block Allocation Table and Data Blocks".
const ENTRY_BYTES: u64 = 4;
const NOT_PRESENT: u32 = u32::MAX;

/// Opens the image in `file`.
pub(crate) fn open(file: Arc<dyn ImageFile>) -> Result<Opened, FormatError> {
    let file_bytes = file.len_bytes()?;
    let footer = Footer::read(&*file, file_bytes)?;
    if footer.is_fixed {
        if footer.size_bytes > footer.footer_at {
            return Err(FormatError::damaged("it is shorter than its disk: the file was cut short"));
        }
        let layer = Fixed { data: RawLayer::of_file(file)?, size_bytes: footer.size_bytes };
        return Ok(Opened { layer: Arc::new(layer), kind: "fixed".to_owned() });
    }
    let layer = open_dynamic(file, file_bytes, &footer)?;
    let kind = format!("dynamic, blocks of {} KiB", layer.block_bytes >> 10);
    Ok(Opened { layer: Arc::new(layer), kind })
}

/// A raw disk in front of a footer.
struct Fixed {
    data: RawLayer,
    size_bytes: u64,
}

impl Layer for Fixed {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read(&self, buffers: &IoBuffers, offset_bytes: u64) -> io::Result<()> {
        self.data.read(buffers, offset_bytes)
    }

    fn locate(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<MapPiece> {
        self.data.locate(offset_bytes, length_bytes)
    }
}

/// The table of a dynamic image.
struct Bat {
    offset_bytes: u64,
    /// Of the bitmap in front of each block.
    bitmap_bytes: u64,
    pages: TablePages,
}

impl BlockTable for Bat {
    fn place(&self, block: u64) -> io::Result<Option<u64>> {
        match u32::from_be_bytes(self.pages.entry(self.offset_bytes + block * ENTRY_BYTES)?) {
            NOT_PRESENT => Ok(None),
            sector => Ok(Some(u64::from(sector) * SECTOR_SIZE + self.bitmap_bytes)),
        }
    }
}

fn open_dynamic(
    file: Arc<dyn ImageFile>,
    file_bytes: u64,
    footer: &Footer,
) -> Result<Blocks<Bat>, FormatError> {
    let end = footer.header_offset.checked_add(HEADER_BYTES as u64);
    if end.is_none_or(|end| end > file_bytes) {
        return Err(FormatError::damaged("its header lies behind the end of the file"));
    }
    let header = read_vec(&*file, footer.header_offset, HEADER_BYTES)?;
    if !header.starts_with(HEADER_COOKIE) || !is_sound(&header, CHECKSUM_AT) {
        return Err(FormatError::damaged("its header is not what its checksum says"));
    }
    let (offset_bytes, entries) = (u64_at(&header, 16), u64::from(u32_at(&header, 28)));
    let (block_bytes, size_bytes) = (u64::from(u32_at(&header, 32)), footer.size_bytes);
    if !block_bytes.is_power_of_two() || !(SECTOR_SIZE..=BLOCK_BYTES_MAX).contains(&block_bytes) {
        return Err(FormatError::damaged(format!("blocks of {block_bytes} bytes are impossible")));
    }
    if entries < size_bytes.div_ceil(block_bytes) {
        return Err(FormatError::damaged("the block allocation table is too short for the disk"));
    }
    if !offset_bytes.is_multiple_of(ENTRY_BYTES) || offset_bytes > file_bytes {
        return Err(FormatError::damaged("the block allocation table is at an impossible place"));
    }
    let bitmap_bytes = (block_bytes / SECTOR_SIZE).div_ceil(8).next_multiple_of(SECTOR_SIZE);
    let table = Bat { offset_bytes, bitmap_bytes, pages: TablePages::new(Arc::clone(&file), file_bytes) };
    Ok(Blocks { file, file_bytes, size_bytes, block_bytes, table })
}
