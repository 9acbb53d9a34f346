//! What a VHDX image says about its disk (\[MS-VHDX\] 2.6).

use disk::{FormatError, ImageFile, SECTOR_SIZE, read_vec};

use super::layout::{Region, guid_at};
use crate::little_endian::{u16_at, u32_at, u64_at};

/// 2.6.1.
const TABLE_BYTES: usize = 64 << 10;
const TABLE_SIGNATURE: &[u8; 8] = b"metadata";
const ENTRY_BYTES: usize = 32;
const ENTRIES_MAX: usize = 2047;
const FLAG_REQUIRED: u32 = 1 << 2;
/// Items, as GUIDs lie in the file (2.6.2).
const FILE_PARAMETERS: [u8; 16] =
    [0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b];
const DISK_SIZE: [u8; 16] =
    [0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8];
const DISK_ID: [u8; 16] =
    [0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46];
const LOGICAL_SECTOR: [u8; 16] =
    [0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f];
const PHYSICAL_SECTOR: [u8; 16] =
    [0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56];
const PARENT_LOCATOR: [u8; 16] =
    [0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c];
/// 2.6.2.1.
const PARAMETER_FIXED: u32 = 1 << 0;
const PARAMETER_PARENT: u32 = 1 << 1;
const BLOCK_BYTES_MIN: u64 = 1 << 20;
const BLOCK_BYTES_MAX: u64 = 256 << 20;
/// 2.6.2.2.
const SIZE_BYTES_MAX: u64 = 64 << 40;
/// Sectors that one block of the sector bitmap describes (2.4).
const SECTORS_PER_BITMAP: u64 = 1 << 23;

/// See the module.
pub(super) struct Metadata {
    pub(super) is_fixed: bool,
    pub(super) block_bytes: u64,
    pub(super) size_bytes: u64,
    /// Payload blocks between two entries for sector bitmaps.
    chunk_blocks: u64,
}

impl Metadata {
    pub(super) fn read(file: &dyn ImageFile, region: Region) -> Result<Metadata, FormatError> {
        if region.length_bytes < TABLE_BYTES as u64 {
            return Err(FormatError::damaged("its metadata is too short"));
        }
        let table = read_vec(file, region.offset_bytes, TABLE_BYTES)?;
        if table[..8] != *TABLE_SIGNATURE || usize::from(u16_at(&table, 10)) > ENTRIES_MAX {
            return Err(FormatError::damaged("its metadata table is not one"));
        }
        let count = usize::from(u16_at(&table, 10));
        let (mut parameters, mut size, mut sector) = (None, None, None);
        for entry in table[ENTRY_BYTES..].chunks_exact(ENTRY_BYTES).take(count) {
            let item = |length| read_item(file, region, entry, length);
            match guid_at(entry, 0) {
                FILE_PARAMETERS => parameters = Some(item(8)?),
                DISK_SIZE => size = Some(u64_at(&item(8)?, 0)),
                LOGICAL_SECTOR => sector = Some(u64::from(u32_at(&item(4)?, 0))),
                DISK_ID | PHYSICAL_SECTOR => {}
                PARENT_LOCATOR => return Err(differencing()),
                _ if u32_at(entry, 24) & FLAG_REQUIRED == 0 => {}
                _ => return Err(FormatError::unsupported("a required metadata item that is unknown")),
            }
        }
        match (parameters, size, sector) {
            (Some(parameters), Some(size), Some(sector)) => Metadata::check(&parameters, size, sector),
            _ => Err(FormatError::damaged("its metadata lacks the size of the disk, blocks or sectors")),
        }
    }

    fn check(parameters: &[u8], size_bytes: u64, sector_bytes: u64) -> Result<Metadata, FormatError> {
        let (block_bytes, flags) = (u64::from(u32_at(parameters, 0)), u32_at(parameters, 4));
        if flags & PARAMETER_PARENT != 0 {
            return Err(differencing());
        }
        if !block_bytes.is_power_of_two() || !(BLOCK_BYTES_MIN..=BLOCK_BYTES_MAX).contains(&block_bytes) {
            return Err(FormatError::damaged(format!("blocks of {block_bytes} bytes are impossible")));
        }
        if ![512, 4096].contains(&sector_bytes) {
            return Err(FormatError::damaged(format!("sectors of {sector_bytes} bytes are impossible")));
        }
        if size_bytes == 0 || size_bytes > SIZE_BYTES_MAX || !size_bytes.is_multiple_of(SECTOR_SIZE) {
            return Err(FormatError::damaged(format!("a disk of {size_bytes} bytes is impossible")));
        }
        let is_fixed = flags & PARAMETER_FIXED != 0;
        let chunk_blocks = SECTORS_PER_BITMAP * sector_bytes / block_bytes;
        Ok(Metadata { is_fixed, block_bytes, size_bytes, chunk_blocks })
    }

    /// Where the BAT describes a block: behind each chunk there is an entry for a sector bitmap.
    pub(super) fn bat_index(&self, block: u64) -> u64 {
        block + block / self.chunk_blocks
    }

    /// Entries that the BAT has, at least.
    pub(super) fn bat_entries(&self) -> u64 {
        self.bat_index(self.size_bytes.div_ceil(self.block_bytes) - 1) + 1
    }
}

fn differencing() -> FormatError {
    FormatError::unsupported("a differencing image (merge it with its parent where it comes from)")
}

/// The item that an entry of the table leads to.
fn read_item(
    file: &dyn ImageFile,
    region: Region,
    entry: &[u8],
    length: usize,
) -> Result<Vec<u8>, FormatError> {
    let (offset, item_bytes) = (u64::from(u32_at(entry, 16)), u32_at(entry, 20) as usize);
    let end = offset + item_bytes as u64;
    if offset < TABLE_BYTES as u64 || end > region.length_bytes || item_bytes < length {
        return Err(FormatError::damaged("a metadata item is at an impossible place"));
    }
    Ok(read_vec(file, region.offset_bytes + offset, length)?)
}
