//! VDI images (VirtualBox, version 1.1), dynamic and fixed ("static"), for reading.
//!
//! ```text
//! pre-header, header ─► block map: an entry a block ─► the block, counted from the first one's place
//! ```
//!
//! Refused: images in front of another one (differencing, undo), and the versions before 1.1.

use std::io;
use std::sync::Arc;

use disk::{FormatError, ImageFile, SECTOR_SIZE, read_vec};

use crate::blocks::{BlockTable, Blocks};
use crate::little_endian::{u32_at, u64_at};
use crate::opened::Opened;
use crate::table_pages::TablePages;

/// Pre-header and header, with 512 bytes to the end of the sector.
const HEADER_BYTES: usize = 512;
const SIGNATURE_AT: usize = 64;
const SIGNATURE: u32 = 0xbeda_107f;
/// Versions whose header is the same as far as it is read here: 1.1 and those of the same major number.
const VERSION_MAJOR: u32 = 1;
const VERSION_MINOR_MIN: u32 = 1;
const TYPE_DYNAMIC: u32 = 1;
const TYPE_FIXED: u32 = 2;
/// Identifiers of the images that this one stands in front of.
const LINK_UUID_AT: usize = 424;
const PARENT_UUID_AT: usize = 440;
const BLOCK_BYTES_MAX: u64 = 256 << 20;
const SIZE_BYTES_MAX: u64 = 1 << 60;

/// An entry of the block map.
const ENTRY_BYTES: u64 = 4;
/// Entries of blocks that were never written, and of discarded ones: both read as zeros.
const FREE: u32 = 0xffff_ffff;
const DISCARDED: u32 = 0xffff_fffe;

/// The block map.
struct Map {
    header: Header,
    pages: TablePages,
}

/// What counts of the header.
struct Header {
    is_fixed: bool,
    size_bytes: u64,
    block_bytes: u64,
    /// In front of each block's data.
    extra_bytes: u64,
    map_offset: u64,
    data_offset: u64,
}

/// Opens the image in `file`.
pub(crate) fn open(file: Arc<dyn ImageFile>) -> Result<Opened, FormatError> {
    let file_bytes = file.len_bytes()?;
    let header = Header::read(&*file)?;
    let kind = format!(
        "{}, blocks of {} KiB",
        if header.is_fixed { "fixed" } else { "dynamic" },
        header.block_bytes >> 10
    );
    let (size_bytes, block_bytes) = (header.size_bytes, header.block_bytes);
    let table = Map { header, pages: TablePages::new(Arc::clone(&file), file_bytes) };
    Ok(Opened { layer: Arc::new(Blocks { file, file_bytes, size_bytes, block_bytes, table }), kind })
}

impl Header {
    fn read(file: &dyn ImageFile) -> Result<Header, FormatError> {
        let bytes = read_vec(file, 0, HEADER_BYTES)?;
        if u32_at(&bytes, SIGNATURE_AT) != SIGNATURE {
            return Err(FormatError::NotThis("a VDI image"));
        }
        let (major, minor) = (u32_at(&bytes, 68) >> 16, u32_at(&bytes, 68) & 0xffff);
        if major != VERSION_MAJOR || minor < VERSION_MINOR_MIN {
            return Err(FormatError::unsupported(format!("VDI version {major}.{minor}")));
        }
        let has_uuid = |at: usize| bytes[at..at + 16].iter().any(|byte| *byte != 0);
        let is_fixed = match u32_at(&bytes, 76) {
            kind @ (TYPE_DYNAMIC | TYPE_FIXED) if !has_uuid(LINK_UUID_AT) && !has_uuid(PARENT_UUID_AT) => {
                kind == TYPE_FIXED
            }
            1..=4 => {
                return Err(FormatError::unsupported(
                    "a VDI image in front of another one (clone the disk, or merge its snapshots, in VirtualBox)",
                ));
            }
            other => return Err(FormatError::unsupported(format!("VDI type {other}"))),
        };
        let header = Header {
            is_fixed,
            size_bytes: u64_at(&bytes, 368),
            block_bytes: u64::from(u32_at(&bytes, 376)),
            extra_bytes: u64::from(u32_at(&bytes, 380)),
            map_offset: u64::from(u32_at(&bytes, 340)),
            data_offset: u64::from(u32_at(&bytes, 344)),
        };
        header.check(u64::from(u32_at(&bytes, 360)), u64::from(u32_at(&bytes, 384)))?;
        Ok(header)
    }

    fn check(&self, sector_bytes: u64, blocks: u64) -> Result<(), FormatError> {
        let Header { size_bytes, block_bytes, extra_bytes, map_offset, .. } = *self;
        if sector_bytes != SECTOR_SIZE {
            return Err(FormatError::unsupported(format!(
                "a VDI image with sectors of {sector_bytes} bytes"
            )));
        }
        if !block_bytes.is_power_of_two() || !(SECTOR_SIZE..=BLOCK_BYTES_MAX).contains(&block_bytes) {
            return Err(FormatError::damaged(format!("blocks of {block_bytes} bytes are impossible")));
        }
        if extra_bytes > BLOCK_BYTES_MAX {
            return Err(FormatError::damaged(format!(
                "{extra_bytes} bytes before each block are impossible"
            )));
        }
        if size_bytes == 0 || size_bytes > SIZE_BYTES_MAX {
            return Err(FormatError::damaged(format!("a disk of {size_bytes} bytes is impossible")));
        }
        if blocks < size_bytes.div_ceil(block_bytes) {
            return Err(FormatError::damaged("the block map is too short for the disk"));
        }
        if !map_offset.is_multiple_of(ENTRY_BYTES) || map_offset < HEADER_BYTES as u64 {
            return Err(FormatError::damaged("the block map is at an impossible place"));
        }
        Ok(())
    }
}

impl BlockTable for Map {
    fn place(&self, block: u64) -> io::Result<Option<u64>> {
        let Header { block_bytes, extra_bytes, map_offset, data_offset, .. } = self.header;
        match u32::from_le_bytes(self.pages.entry(map_offset + block * ENTRY_BYTES)?) {
            FREE | DISCARDED => Ok(None),
            number => Ok(Some(data_offset + u64::from(number) * (block_bytes + extra_bytes) + extra_bytes)),
        }
    }
}
