//! Inodes ("On-Disk Inode"): what a file is, and the fork that leads to its data.

use super::superblock::Superblock;
use super::{kind, read_checked};
use crate::bytes::Bytes;
use crate::{FileKind, FsError, ReadAt};

const MAGIC: &[u8] = b"IN";
const MODE_AT: usize = 2;
const VERSION_AT: usize = 4;
const FORMAT_AT: usize = 5;
const BIG_EXTENTS_AT: usize = 24;
const SIZE_AT: usize = 56;
const EXTENTS_AT: usize = 76;
const FORK_OFFSET_AT: usize = 82;
const FLAGS_AT: usize = 90;
const CRC_AT: usize = 100;
const FLAGS2_AT: usize = 120;
const NUMBER_AT: usize = 152;
/// Where the forks begin, in versions 1 and 2, and in version 3.
const FORK_AT: usize = 100;
const FORK_V3_AT: usize = 176;

const REALTIME: u16 = 1;
/// Counts of extents have 64 bits.
const LARGE_COUNTS: u64 = 1 << 4;

const LOCAL: u8 = 1;
const EXTENTS: u8 = 2;
const BTREE: u8 = 3;

/// An inode.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) number: u64,
    pub(super) kind: FileKind,
    pub(super) size_bytes: u64,
    pub(super) fork: Fork,
}

/// Where the data is.
#[derive(Debug)]
pub(super) enum Fork {
    /// In the inode itself.
    Local(Vec<u8>),
    /// So many extents, listed in the inode.
    Extents { bytes: Vec<u8>, count: u64 },
    /// A B+tree's root.
    Btree(Vec<u8>),
    /// Nowhere: a device node.
    None,
}

impl Inode {
    pub(super) fn read(device: &dyn ReadAt, superblock: &Superblock, number: u64) -> Result<Inode, FsError> {
        let at = superblock.inode_at(number)?;
        let bytes = read_inode(device, superblock, at)?;
        let inode = Bytes(&bytes);
        let version = inode.u8(VERSION_AT)?;
        if !bytes.starts_with(MAGIC) || (version == 3) != superblock.has_crc {
            return Err(FsError::Damaged("an inode is none"));
        }
        if version == 3 && inode.be64(NUMBER_AT)? != number {
            return Err(FsError::Damaged("an inode has another one's number"));
        }
        let kind = kind(inode.be16(MODE_AT)?);
        if kind == FileKind::Regular && inode.be16(FLAGS_AT)? & REALTIME != 0 {
            return Err(FsError::Unsupported("a realtime device for this file".to_owned()));
        }
        let size_bytes = inode.be64(SIZE_AT)?;
        if size_bytes > i64::MAX as u64 {
            return Err(FsError::Damaged("a file's size is negative"));
        }
        let fork_at = if version == 3 { FORK_V3_AT } else { FORK_AT };
        let attributes_at = usize::from(inode.u8(FORK_OFFSET_AT)?) * 8;
        let fork_len = if attributes_at == 0 { superblock.inode_bytes - fork_at } else { attributes_at };
        let fork = inode.slice(fork_at, fork_len)?.to_vec();
        let large_counts = version == 3 && inode.be64(FLAGS2_AT)? & LARGE_COUNTS != 0;
        let count =
            if large_counts { inode.be64(BIG_EXTENTS_AT)? } else { u64::from(inode.be32(EXTENTS_AT)?) };
        let fork = match inode.u8(FORMAT_AT)? {
            LOCAL => Fork::Local(fork),
            EXTENTS => Fork::Extents { bytes: fork, count },
            BTREE => Fork::Btree(fork),
            _ => Fork::None,
        };
        Ok(Inode { number, kind, size_bytes, fork })
    }
}

fn read_inode(device: &dyn ReadAt, superblock: &Superblock, at: u64) -> Result<Vec<u8>, FsError> {
    read_checked(device, superblock, at, superblock.inode_bytes, CRC_AT)
}
