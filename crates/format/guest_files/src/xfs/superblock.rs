//! The superblock ("Superblocks"), as much of it as reading takes.

use image_model::uuid_text;

use crate::bytes::{Bytes, field_text};
use crate::{FsError, ReadAt};

const BLOCK_SIZE_AT: usize = 4;
const UUID_AT: usize = 32;
const LOG_START_AT: usize = 48;
const ROOT_INODE_AT: usize = 56;
const GROUP_BLOCKS_AT: usize = 84;
const GROUP_COUNT_AT: usize = 88;
const LOG_BLOCKS_AT: usize = 96;
const VERSION_AT: usize = 100;
const SECTOR_SIZE_AT: usize = 102;
const INODE_SIZE_AT: usize = 104;
const LABEL_AT: usize = 108;
const BLOCK_LOG_AT: usize = 120;
const INODES_PER_BLOCK_LOG_AT: usize = 123;
const GROUP_BLOCKS_LOG_AT: usize = 124;
const DIRECTORY_BLOCK_LOG_AT: usize = 192;
const FEATURES2_AT: usize = 200;
const INCOMPATIBLE_AT: usize = 216;
const CRC_AT: usize = 224;

/// `sb_versionnum`.
const VERSION_MASK: u16 = 0x000F;
const HAS_FEATURES2: u16 = 0x8000;
const DIRECTORIES_V2: u16 = 0x2000;
/// `sb_features2`.
const FTYPE_V4: u32 = 0x200;
/// `sb_features_incompat`.
const FTYPE: u32 = 0x1;
const NEEDS_REPAIR: u32 = 0x10;
/// File types, sparse inodes, metadata UUID, large timestamps, needs repair, large counts of extents, exchanged
/// ranges, parent pointers: what one who only reads files copes with.
const KNOWN_INCOMPATIBLE: u32 = 0xFF;

/// What is known of a file system.
#[derive(Debug)]
pub(super) struct Superblock {
    pub(super) has_crc: bool,
    /// Whether entries of directories say what the file is.
    pub(super) has_file_types: bool,
    pub(super) needs_repair: bool,
    pub(super) block_bytes: usize,
    pub(super) directory_block_bytes: usize,
    pub(super) inode_bytes: usize,
    pub(super) root_inode: u64,
    pub(super) label: String,
    pub(super) uuid: String,
    /// The journal's first block; nothing when it is on another device.
    pub(super) log_start: Option<u64>,
    pub(super) log_blocks: u32,
    group_blocks: u32,
    group_count: u32,
    group_blocks_log: u32,
    inodes_per_block_log: u32,
}

impl Superblock {
    pub(super) fn read(device: &dyn ReadAt) -> Result<Superblock, FsError> {
        let mut sector = [0; 512];
        device.read_at(0, &mut sector)?;
        let sb = Bytes(&sector);
        let version = sb.be16(VERSION_AT)?;
        let has_crc = match version & VERSION_MASK {
            5 => true,
            4 if version & DIRECTORIES_V2 != 0 => false,
            number => return Err(FsError::Unsupported(format!("version {number} of its format"))),
        };
        let incompatible = if has_crc { sb.be32(INCOMPATIBLE_AT)? } else { 0 };
        if incompatible & !KNOWN_INCOMPATIBLE != 0 {
            let unknown = incompatible & !KNOWN_INCOMPATIBLE;
            return Err(FsError::Unsupported(format!("features that are not known here ({unknown:#x})")));
        }
        let features2 = if version & HAS_FEATURES2 != 0 { sb.be32(FEATURES2_AT)? } else { 0 };
        let log_start = sb.be64(LOG_START_AT)?;
        let superblock = Superblock {
            has_crc,
            has_file_types: incompatible & FTYPE != 0 || !has_crc && features2 & FTYPE_V4 != 0,
            needs_repair: incompatible & NEEDS_REPAIR != 0,
            block_bytes: sb.be32(BLOCK_SIZE_AT)? as usize,
            directory_block_bytes: 0,
            inode_bytes: usize::from(sb.be16(INODE_SIZE_AT)?),
            root_inode: sb.be64(ROOT_INODE_AT)?,
            label: field_text(sb.slice(LABEL_AT, 12)?),
            uuid: uuid_text(&sb.array(UUID_AT)?),
            log_start: (log_start != 0).then_some(log_start),
            log_blocks: sb.be32(LOG_BLOCKS_AT)?,
            group_blocks: sb.be32(GROUP_BLOCKS_AT)?,
            group_count: sb.be32(GROUP_COUNT_AT)?,
            group_blocks_log: u32::from(sb.u8(GROUP_BLOCKS_LOG_AT)?),
            inodes_per_block_log: u32::from(sb.u8(INODES_PER_BLOCK_LOG_AT)?),
        };
        let directory_log = u32::from(sb.u8(DIRECTORY_BLOCK_LOG_AT)?);
        let superblock = superblock.checked(u32::from(sb.u8(BLOCK_LOG_AT)?), directory_log)?;
        superblock.check_crc(device, usize::from(sb.be16(SECTOR_SIZE_AT)?))?;
        Ok(superblock)
    }

    /// Sizes that are powers of two within the format's bounds, and logarithms that belong to them.
    fn checked(mut self, block_log: u32, directory_log: u32) -> Result<Superblock, FsError> {
        let sizes = matches!(block_log, 9..=16)
            && self.block_bytes == 1 << block_log
            && matches!(self.inode_bytes, 256 | 512 | 1024 | 2048)
            && self.inode_bytes << self.inodes_per_block_log.min(16) == self.block_bytes
            && block_log + directory_log <= 16;
        let groups = (1..=31).contains(&self.group_blocks_log)
            && self.group_blocks > 0
            && u64::from(self.group_blocks) <= 1 << self.group_blocks_log
            && self.group_count > 0;
        if !sizes || !groups {
            return Err(FsError::Damaged("its superblock makes no sense"));
        }
        self.directory_block_bytes = self.block_bytes << directory_log;
        Ok(self)
    }

    fn check_crc(&self, device: &dyn ReadAt, sector_bytes: usize) -> Result<(), FsError> {
        if self.has_crc && !(512..=32768).contains(&sector_bytes) {
            return Err(FsError::Damaged("its superblock makes no sense"));
        }
        if self.has_crc {
            super::read_checked(device, self, 0, sector_bytes, CRC_AT)?;
        }
        Ok(())
    }

    /// Where a block is on the device. A block's number is that of its group, and one inside of it.
    pub(super) fn block_at(&self, block: u64) -> Result<u64, FsError> {
        let group = block >> self.group_blocks_log;
        let inside = block & ((1 << self.group_blocks_log) - 1);
        if group >= u64::from(self.group_count) || inside >= u64::from(self.group_blocks) {
            return Err(FsError::Damaged("a block's number leads out of the file system"));
        }
        // Both factors are below 2^32, and a block is 2^16 bytes at most.
        let index = group * u64::from(self.group_blocks) + inside;
        index.checked_mul(self.block_bytes as u64).ok_or(FsError::Damaged("a block lies too far behind"))
    }

    /// Where an inode is on the device.
    pub(super) fn inode_at(&self, number: u64) -> Result<u64, FsError> {
        let slot = number & ((1 << self.inodes_per_block_log) - 1);
        let block = self.block_at(number >> self.inodes_per_block_log)?;
        Ok(block + slot * self.inode_bytes as u64)
    }
}
