//! The superblock ("Superblock").

use image_model::uuid_text;

use crate::bytes::{Bytes, field_text};
use crate::{FsError, ReadAt};

/// Where it is, and where its first copy is.
const PLACES: [u64; 2] = [64 << 10, 64 << 20];
const LEN: usize = 4096;
const CHECKED_FROM: usize = 32;
const UUID_AT: usize = 0x20;
const PLACE_AT: usize = 0x30;
const MAGIC_AT: usize = 0x40;
const MAGIC: &[u8] = b"_BHRfS_M";
const ROOT_AT: usize = 0x50;
const CHUNK_ROOT_AT: usize = 0x58;
const LOG_ROOT_AT: usize = 0x60;
const DEVICES_AT: usize = 0x88;
const SECTOR_SIZE_AT: usize = 0x90;
const NODE_SIZE_AT: usize = 0x94;
const SYSTEM_CHUNKS_LEN_AT: usize = 0xA0;
const INCOMPATIBLE_AT: usize = 0xBC;
const CHECKSUM_TYPE_AT: usize = 0xC4;
const ROOT_LEVEL_AT: usize = 0xC6;
const CHUNK_ROOT_LEVEL_AT: usize = 0xC7;
const DEVICE_AT: usize = 0xC9;
const LABEL_AT: usize = 0x12B;
const SYSTEM_CHUNKS_AT: usize = 0x32B;
const SYSTEM_CHUNKS_LIMIT: usize = 2048;

const CRC32C: u16 = 0;

/// Features that do not stand in the way of reading: mixed back references, default subvolume, mixed groups,
/// compression, large nodes, extended references, RAID56 (its chunks are refused one by one), skinny metadata, no
/// holes, metadata UUID, RAID1C34, zoned, simple quotas.
const KNOWN_INCOMPATIBLE: u64 = 0x1_1FFF;

/// What the superblock says.
pub(super) struct Superblock {
    pub(super) uuid: String,
    pub(super) label: String,
    pub(super) root: (u64, u8),
    pub(super) chunk_root: (u64, u8),
    pub(super) has_log: bool,
    pub(super) devices: u64,
    pub(super) device: u64,
    pub(super) sector_bytes: u32,
    pub(super) node_bytes: usize,
    /// Whether nodes' checksums can be verified here.
    pub(super) has_crc32c: bool,
    /// The chunks that it takes to read the tree of chunks.
    pub(super) system_chunks: Vec<u8>,
    pub(super) is_copy: bool,
}

impl Superblock {
    /// Reads it, or its copy when it is damaged.
    pub(super) fn read(device: &dyn ReadAt) -> Result<Superblock, FsError> {
        let first = Superblock::read_at(device, PLACES[0]);
        match first {
            Err(FsError::Damaged(_)) => match Superblock::read_at(device, PLACES[1]) {
                Ok(copy) => Ok(Superblock { is_copy: true, ..copy }),
                Err(_) => first,
            },
            first => first,
        }
    }

    fn read_at(device: &dyn ReadAt, at: u64) -> Result<Superblock, FsError> {
        let mut bytes = vec![0; LEN];
        device.read_at(at, &mut bytes)?;
        let sb = Bytes(&bytes);
        if sb.slice(MAGIC_AT, MAGIC.len())? != MAGIC || sb.le64(PLACE_AT)? != at {
            return Err(FsError::Damaged("its superblock is none"));
        }
        // Fuzzing is to get further than a checksum.
        let has_crc32c = sb.le16(CHECKSUM_TYPE_AT)? == CRC32C && !cfg!(fuzzing);
        if has_crc32c && crc32c::crc32c(&bytes[CHECKED_FROM..]) != sb.le32(0)? {
            return Err(FsError::Damaged("its superblock's checksum is wrong"));
        }
        let unknown = sb.le64(INCOMPATIBLE_AT)? & !KNOWN_INCOMPATIBLE;
        if unknown != 0 {
            return Err(FsError::Unsupported(format!("features that are not known here ({unknown:#x})")));
        }
        let (sector_bytes, node_bytes) = (sb.le32(SECTOR_SIZE_AT)?, sb.le32(NODE_SIZE_AT)?);
        let is_size = |size: u32| (512..=65536).contains(&size) && size.is_power_of_two();
        if !is_size(sector_bytes) || !is_size(node_bytes) || node_bytes < sector_bytes {
            return Err(FsError::Damaged("its superblock makes no sense"));
        }
        let chunks_len = (sb.le32(SYSTEM_CHUNKS_LEN_AT)? as usize).min(SYSTEM_CHUNKS_LIMIT);
        Ok(Superblock {
            uuid: uuid_text(&sb.array(UUID_AT)?),
            label: field_text(sb.slice(LABEL_AT, 256)?),
            root: (sb.le64(ROOT_AT)?, sb.u8(ROOT_LEVEL_AT)?),
            chunk_root: (sb.le64(CHUNK_ROOT_AT)?, sb.u8(CHUNK_ROOT_LEVEL_AT)?),
            has_log: sb.le64(LOG_ROOT_AT)? != 0,
            devices: sb.le64(DEVICES_AT)?,
            device: sb.le64(DEVICE_AT)?,
            sector_bytes,
            node_bytes: node_bytes as usize,
            has_crc32c,
            system_chunks: sb.slice(SYSTEM_CHUNKS_AT, chunks_len)?.to_vec(),
            is_copy: false,
        })
    }
}
