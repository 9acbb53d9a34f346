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

use disk::{FormatError, ImageFile};

use self::layout::{Header, Regions};
use self::metadata::Metadata;
use crate::blocks::{BlockTable, Blocks};
use crate::opened::Opened;
use crate::table_pages::TablePages;

/// Bytes of a BAT entry (2.5.1).
const ENTRY_BYTES: u64 = 8;

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

/// The block allocation table.
struct Bat {
    metadata: Metadata,
    offset_bytes: u64,
    pages: TablePages,
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
    let (size_bytes, block_bytes) = (metadata.size_bytes, metadata.block_bytes);
    let pages = TablePages::new(Arc::clone(&file), file_bytes);
    let table = Bat { metadata, offset_bytes: regions.bat.offset_bytes, pages };
    Ok(Opened { layer: Arc::new(Blocks { file, file_bytes, size_bytes, block_bytes, table }), kind })
}

impl BlockTable for Bat {
    fn place(&self, block: u64) -> io::Result<Option<u64>> {
        let index = self.metadata.bat_index(block);
        let entry = u64::from_le_bytes(self.pages.entry(self.offset_bytes + index * ENTRY_BYTES)?);
        match entry & STATE_MASK {
            NOT_PRESENT | UNDEFINED | ZERO | UNMAPPED => Ok(None),
            FULLY_PRESENT if entry & PLACE_MASK == 0 => {
                Err(FormatError::damaged("a block lies behind the end of the file").into())
            }
            FULLY_PRESENT => Ok(Some(entry & PLACE_MASK)),
            PARTIALLY_PRESENT => Err(FormatError::damaged("a block is partly in a parent image").into()),
            state => Err(FormatError::damaged(format!("a block is in state {state}")).into()),
        }
    }
}
