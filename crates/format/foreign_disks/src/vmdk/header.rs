//! The header of a file with grains, and the descriptor inside it.

use disk::{FormatError, ImageFile, SECTOR_SIZE, read_vec};

use super::descriptor;
use crate::little_endian::{u16_at, u32_at, u64_at};

const MAGIC: &[u8; 4] = b"KDMV";
/// Of sparse extents of ESX.
const ESX_MAGIC: &[u8; 4] = b"COWD";
const HEADER_BYTES: usize = 512;
const VERSION_MAX: u32 = 3;
/// Flags.
const ZERO_GRAINS: u32 = 1 << 2;
const COMPRESSED: u32 = 1 << 16;
const MARKERS: u32 = 1 << 17;
/// "The grain directory is at the end": a second header before the last sector says where.
const AT_END: u64 = u64::MAX;
const FOOTER_FROM_END_BYTES: u64 = 1024;
const DEFLATE: u16 = 1;
/// Bounds of what may be claimed.
const GRAIN_SECTORS: std::ops::RangeInclusive<u64> = 8..=(16 << 20) / SECTOR_SIZE;
const TABLE_ENTRIES_MAX: u64 = 512;
const SIZE_BYTES_MAX: u64 = 1 << 62;

/// What counts of a header.
pub(super) struct Header {
    pub(super) size_bytes: u64,
    pub(super) grain_bytes: u64,
    pub(super) table_entries: u64,
    pub(super) directory_offset: u64,
    pub(super) has_zero_grains: bool,
    pub(super) is_deflated: bool,
    descriptor_offset: u64,
    descriptor_bytes: u64,
}

impl Header {
    /// The header of a file.
    pub(super) fn read(file: &dyn ImageFile, file_bytes: u64) -> Result<Header, FormatError> {
        let first = read_vec(file, 0, HEADER_BYTES)?;
        if first.starts_with(ESX_MAGIC) {
            return Err(FormatError::unsupported("a sparse extent of ESX (export the machine as OVA)"));
        }
        if !first.starts_with(MAGIC) || file_bytes < HEADER_BYTES as u64 {
            return Err(FormatError::NotThis("a VMDK image"));
        }
        let mut header = Header::parse(&first)?;
        if header.directory_offset == AT_END {
            header.directory_offset = footer_directory(file, file_bytes)?;
        }
        Ok(header)
    }

    fn parse(bytes: &[u8]) -> Result<Header, FormatError> {
        let (version, flags) = (u32_at(bytes, 4), u32_at(bytes, 8));
        if version == 0 || version > VERSION_MAX {
            return Err(FormatError::unsupported(format!("VMDK version {version}")));
        }
        let is_deflated = flags & (COMPRESSED | MARKERS) != 0;
        let compression = u16_at(bytes, 77);
        if is_deflated && (compression != DEFLATE || flags & COMPRESSED == 0 || flags & MARKERS == 0) {
            return Err(FormatError::unsupported(format!(
                "VMDK compression {compression}, flags {flags:#x}"
            )));
        }
        let size_bytes = u64_at(bytes, 12).checked_mul(SECTOR_SIZE).filter(|size| *size <= SIZE_BYTES_MAX);
        let grain_sectors = u64_at(bytes, 20);
        let table_entries = u64::from(u32_at(bytes, 44));
        if !GRAIN_SECTORS.contains(&grain_sectors) || !grain_sectors.is_power_of_two() {
            return Err(FormatError::damaged(format!("grains of {grain_sectors} sectors are impossible")));
        }
        if table_entries == 0 || table_entries > TABLE_ENTRIES_MAX {
            return Err(FormatError::damaged(format!("grain tables of {table_entries} are impossible")));
        }
        Ok(Header {
            size_bytes: size_bytes.filter(|size| *size > 0).ok_or_else(impossible_size)?,
            grain_bytes: grain_sectors * SECTOR_SIZE,
            table_entries,
            directory_offset: directory_offset(bytes)?,
            has_zero_grains: flags & ZERO_GRAINS != 0,
            is_deflated,
            descriptor_offset: u64_at(bytes, 28),
            descriptor_bytes: u64_at(bytes, 36).saturating_mul(SECTOR_SIZE),
        })
    }

    /// What kind of image a file says that it is which is all of one.
    ///
    /// # Errors
    /// It is a part of one, stands in front of another, or is of a kind that nobody knows.
    pub(super) fn kind(&self, file: &dyn ImageFile, file_bytes: u64) -> Result<String, FormatError> {
        if self.descriptor_offset == 0 || self.descriptor_bytes == 0 {
            return Err(FormatError::unsupported(
                "one of several files of a VMDK image (give the file that names them, which is text)",
            ));
        }
        let offset = self.descriptor_offset.checked_mul(SECTOR_SIZE);
        let offset = offset.filter(|offset| *offset < file_bytes);
        let Some(offset) = offset.filter(|_| self.descriptor_bytes <= descriptor::BYTES_MAX) else {
            return Err(FormatError::damaged("its descriptor is at an impossible place"));
        };
        let text = read_vec(file, offset, self.descriptor_bytes as usize)?;
        let text = String::from_utf8_lossy(&text);
        let text = text.split('\0').next().unwrap_or_default();
        descriptor::check_parent(text)?;
        match descriptor::kind(text)? {
            kind @ ("monolithicSparse" | "streamOptimized") => Ok(kind.to_owned()),
            kind => Err(descriptor::unsupported_kind(kind)),
        }
    }
}

fn directory_offset(bytes: &[u8]) -> Result<u64, FormatError> {
    match u64_at(bytes, 56) {
        AT_END => Ok(AT_END),
        sector => sector
            .checked_mul(SECTOR_SIZE)
            .filter(|offset| *offset >= HEADER_BYTES as u64)
            .ok_or_else(|| FormatError::damaged("its grain directory is at an impossible place")),
    }
}

/// Where the footer says that the grain directory is.
fn footer_directory(file: &dyn ImageFile, file_bytes: u64) -> Result<u64, FormatError> {
    let cut = || FormatError::damaged("its footer is missing: the file was cut short");
    let at = file_bytes.checked_sub(FOOTER_FROM_END_BYTES).ok_or_else(cut)?;
    let footer = read_vec(file, at, HEADER_BYTES)?;
    if !footer.starts_with(MAGIC) {
        return Err(cut());
    }
    match directory_offset(&footer)? {
        AT_END => Err(cut()),
        offset => Ok(offset),
    }
}

fn impossible_size() -> FormatError {
    FormatError::damaged("a disk of this length is impossible")
}
