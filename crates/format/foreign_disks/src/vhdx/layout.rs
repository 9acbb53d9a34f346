//! The fixed places of a VHDX file: its identifier, headers, region tables and log.

use crc32c::crc32c;
use disk::{FormatError, ImageFile, read_vec};

use crate::little_endian::{u16_at, u32_at, u64_at};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// 2.2.1.
const IDENTIFIER: &[u8; 8] = b"vhdxfile";
/// 2.2.2.
const HEADER_PLACES: [u64; 2] = [64 * KIB, 128 * KIB];
const HEADER_SIGNATURE: &[u8; 4] = b"head";
const HEADER_BYTES: usize = 4096;
/// 2.2.3.
const REGION_PLACES: [u64; 2] = [192 * KIB, 256 * KIB];
const REGION_SIGNATURE: &[u8; 4] = b"regi";
const REGION_TABLE_BYTES: usize = 64 << 10;
const REGION_ENTRY_BYTES: usize = 32;
const REGION_ENTRIES_MAX: usize = 2047;
/// 2.3.1.1.
const LOG_SIGNATURE: &[u8; 4] = b"loge";
const LOG_SECTOR_BYTES: u64 = 4096;
const LOG_BYTES_MAX: u64 = 256 * MIB;
/// The block allocation table, as GUIDs lie in the file (2.2.3.2).
const BAT: [u8; 16] =
    [0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08];
const METADATA: [u8; 16] =
    [0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e];

/// What counts of a header (2.2.2).
pub(super) struct Header {
    sequence: u64,
    log_guid: [u8; 16],
    log_offset: u64,
    log_bytes: u64,
}

impl Header {
    /// The newer of the headers that are sound.
    pub(super) fn read(file: &dyn ImageFile, file_bytes: u64) -> Result<Header, FormatError> {
        if file_bytes < MIB || read_vec(file, 0, IDENTIFIER.len())? != IDENTIFIER {
            return Err(FormatError::NotThis("a VHDX image"));
        }
        let mut newest: Option<Header> = None;
        for place in HEADER_PLACES {
            let bytes = read_vec(file, place, HEADER_BYTES)?;
            if is_sound(&bytes, HEADER_SIGNATURE) {
                let header = Header::parse(&bytes)?;
                if newest.as_ref().is_none_or(|other| header.sequence > other.sequence) {
                    newest = Some(header);
                }
            }
        }
        newest.ok_or_else(|| FormatError::damaged("neither of its headers is sound"))
    }

    fn parse(bytes: &[u8]) -> Result<Header, FormatError> {
        let version = u16_at(bytes, 66);
        if version != 1 {
            return Err(FormatError::unsupported(format!("VHDX version {version}")));
        }
        Ok(Header {
            sequence: u64_at(bytes, 8),
            log_guid: guid_at(bytes, 48),
            log_bytes: u64::from(u32_at(bytes, 68)),
            log_offset: u64_at(bytes, 72),
        })
    }

    /// Refuses an image whose log holds entries: they would have to be replayed (2.3).
    pub(super) fn check_log(&self, file: &dyn ImageFile, file_bytes: u64) -> Result<(), FormatError> {
        if self.log_guid == [0; 16] {
            return Ok(());
        }
        let end = self.log_offset.checked_add(self.log_bytes).filter(|end| *end <= file_bytes);
        let Some(end) = end.filter(|_| self.log_bytes <= LOG_BYTES_MAX) else {
            return Err(FormatError::damaged("its log is at an impossible place"));
        };
        let mut at = self.log_offset;
        while at < end {
            let start = read_vec(file, at, 64)?;
            if start[..4] == *LOG_SIGNATURE && start[32..48] == self.log_guid {
                return Err(FormatError::unsupported(
                    "a log with changes that are not in their places yet (attach and detach the image once \
                     where it comes from, which writes them)",
                ));
            }
            at += LOG_SECTOR_BYTES;
        }
        Ok(())
    }
}

/// A part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) offset_bytes: u64,
    pub(super) length_bytes: u64,
}

/// The parts that every image has (2.2.3).
pub(super) struct Regions {
    pub(super) bat: Region,
    pub(super) metadata: Region,
}

impl Regions {
    /// Those of the first region table that is sound.
    pub(super) fn read(file: &dyn ImageFile, file_bytes: u64) -> Result<Regions, FormatError> {
        for place in REGION_PLACES {
            let bytes = read_vec(file, place, REGION_TABLE_BYTES)?;
            if is_sound(&bytes, REGION_SIGNATURE) {
                return Regions::parse(&bytes, file_bytes);
            }
        }
        Err(FormatError::damaged("neither of its region tables is sound"))
    }

    fn parse(bytes: &[u8], file_bytes: u64) -> Result<Regions, FormatError> {
        let count = u32_at(bytes, 8) as usize;
        if count > REGION_ENTRIES_MAX {
            return Err(FormatError::damaged("its region table claims too many entries"));
        }
        let (mut bat, mut metadata) = (None, None);
        for entry in bytes[16..].chunks_exact(REGION_ENTRY_BYTES).take(count) {
            let place = match guid_at(entry, 0) {
                BAT => &mut bat,
                METADATA => &mut metadata,
                _ if u32_at(entry, 28) & 1 == 0 => continue,
                _ => return Err(FormatError::unsupported("a required region that is unknown")),
            };
            let (offset_bytes, length_bytes) = (u64_at(entry, 16), u64::from(u32_at(entry, 24)));
            let end = offset_bytes.checked_add(length_bytes);
            let possible = offset_bytes >= MIB
                && offset_bytes.is_multiple_of(MIB)
                && end.is_some_and(|end| end <= file_bytes);
            if !possible || place.replace(Region { offset_bytes, length_bytes }).is_some() {
                return Err(FormatError::damaged("a region is twice there or at an impossible place"));
            }
        }
        match (bat, metadata) {
            (Some(bat), Some(metadata)) => Ok(Regions { bat, metadata }),
            _ => Err(FormatError::damaged("it lacks the block allocation table or the metadata")),
        }
    }
}

/// Whether a structure has its signature and its checksum, which follows the signature.
fn is_sound(bytes: &[u8], signature: &[u8; 4]) -> bool {
    if bytes[..4] != *signature {
        return false;
    }
    let mut zeroed = bytes.to_vec();
    zeroed[4..8].fill(0);
    crc32c(&zeroed) == u32_at(bytes, 4)
}

pub(super) fn guid_at(bytes: &[u8], at: usize) -> [u8; 16] {
    std::array::from_fn(|index| bytes[at + index])
}
