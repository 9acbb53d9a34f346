//! Directories ("Directories"). Beside the short form in the inode there are blocks of entries, followed, beyond
//! 32 GiB, by what finds them faster; all entries are in the blocks, so these are read one after the other.

use super::inode::{Fork, Inode};
use super::{Xfs, extents};
use crate::bytes::Bytes;
use crate::{FileKind, FsError};

/// Where the index begins in a directory.
const INDEX_AT_BYTES: u64 = 1 << 35;
/// Magic numbers of a block that is the only one, and of one of several, in version 4 and 5.
const SINGLE: [&[u8]; 2] = [b"XD2B", b"XDB3"];
const SEVERAL: [&[u8]; 2] = [b"XD2D", b"XDD3"];
const HEADER_V4_LEN: usize = 16;
const HEADER_V5_LEN: usize = 64;
const CRC_AT: usize = 4;
const OWNER_AT: usize = 40;
/// The end of a single block: how many entries its index has, of 8 bytes each, and how many of them are stale.
const TAIL_LEN: usize = 8;
const INDEX_ENTRY_LEN: usize = 8;
const UNUSED: u16 = 0xFFFF;

/// An entry.
pub(super) struct Entry<'a> {
    pub(super) name: &'a [u8],
    pub(super) inode: u64,
    /// What it is, where entries say so.
    pub(super) kind: Option<FileKind>,
}

/// Takes an entry and says whether it wants more.
pub(super) type Each<'a> = dyn FnMut(Entry<'_>) -> Result<bool, FsError> + 'a;

/// Calls `each` for the entries of a directory; `.` and `..` are among them in some forms.
pub(super) fn each(fs: &Xfs, directory: &Inode, each: &mut Each<'_>) -> Result<(), FsError> {
    if directory.kind != FileKind::Directory {
        return Err(FsError::NotADirectory);
    }
    if let Fork::Local(bytes) = &directory.fork {
        return short_form(fs, Bytes(bytes), each);
    }
    let superblock = &fs.superblock;
    let blocks_each = (superblock.directory_block_bytes / superblock.block_bytes) as u64;
    let index_from = INDEX_AT_BYTES / superblock.block_bytes as u64;
    let mut block = DirectoryBlock { bytes: Vec::new(), blocks_each };
    for extent in extents::list(fs, directory)? {
        for index in 0..extent.blocks {
            if extent.offset + index >= index_from {
                return Ok(());
            }
            if !block.add(fs, extent.offset + index, extent.start + index)? {
                continue;
            }
            if !block.entries(fs, directory.number, each)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A directory's block, which may be several of the file system's.
struct DirectoryBlock {
    bytes: Vec<u8>,
    blocks_each: u64,
}

impl DirectoryBlock {
    /// Adds a block of the file system and says whether the directory's block is complete.
    fn add(&mut self, fs: &Xfs, offset: u64, block: u64) -> Result<bool, FsError> {
        let inside = offset % self.blocks_each;
        let len = fs.superblock.block_bytes;
        if inside == 0 {
            self.bytes.clear();
        }
        if self.bytes.len() as u64 != inside * len as u64 {
            return Err(FsError::Damaged("a directory has a hole"));
        }
        let from = self.bytes.len();
        self.bytes.resize(from + len, 0);
        fs.device.read_at(fs.superblock.block_at(block)?, &mut self.bytes[from..])?;
        Ok(inside + 1 == self.blocks_each)
    }

    /// Calls `each` for the entries, and says whether it wants more.
    fn entries(&self, fs: &Xfs, owner: u64, each: &mut Each<'_>) -> Result<bool, FsError> {
        let superblock = &fs.superblock;
        let block = Bytes(&self.bytes);
        let version = usize::from(superblock.has_crc);
        let is_single = self.bytes.starts_with(SINGLE[version]);
        if !is_single && !self.bytes.starts_with(SEVERAL[version]) {
            return Err(FsError::Damaged("a directory's block is none"));
        }
        if superblock.has_crc && (!super::crc_is_right(&self.bytes, CRC_AT) || block.be64(OWNER_AT)? != owner)
        {
            return Err(FsError::Damaged("the checksum of a directory's block is wrong"));
        }
        let end = if is_single {
            let tail_at = self.bytes.len() - TAIL_LEN;
            let index_len = block.be32(tail_at)? as usize * INDEX_ENTRY_LEN;
            tail_at.checked_sub(index_len).ok_or(FsError::Damaged("a directory's index is too long"))?
        } else {
            self.bytes.len()
        };
        let mut at = if superblock.has_crc { HEADER_V5_LEN } else { HEADER_V4_LEN };
        while at < end {
            if block.be16(at)? == UNUSED {
                let len = usize::from(block.be16(at + 2)?);
                if len == 0 || len % 8 != 0 {
                    return Err(FsError::Damaged("a directory's unused space has no length"));
                }
                at += len;
                continue;
            }
            let inode = block.be64(at)?;
            let name_len = usize::from(block.u8(at + 8)?);
            let name = block.slice(at + 9, name_len)?;
            let kind = if superblock.has_file_types { file_type(block.u8(at + 9 + name_len)?) } else { None };
            if name_len == 0 || at + 9 + name_len > end {
                return Err(FsError::Damaged("a directory's entry has no name"));
            }
            if !each(Entry { name, inode, kind })? {
                return Ok(false);
            }
            let tag_len = 2;
            at += (9 + name_len + usize::from(superblock.has_file_types) + tag_len).next_multiple_of(8);
        }
        Ok(true)
    }
}

/// Entries in the inode: a count, whether inodes' numbers are long, the parent, then the entries.
fn short_form(fs: &Xfs, bytes: Bytes<'_>, each: &mut Each<'_>) -> Result<(), FsError> {
    let (count, long_count) = (bytes.u8(0)?, bytes.u8(1)?);
    let number_len = if long_count > 0 { 8 } else { 4 };
    let count = count.max(long_count);
    let mut at = 2 + number_len;
    for _ in 0..count {
        let name_len = usize::from(bytes.u8(at)?);
        let name = bytes.slice(at + 3, name_len)?;
        at += 3 + name_len;
        let mut kind = None;
        if fs.superblock.has_file_types {
            kind = file_type(bytes.u8(at)?);
            at += 1;
        }
        let inode = if long_count > 0 { bytes.be64(at)? } else { u64::from(bytes.be32(at)?) };
        at += number_len;
        if !each(Entry { name, inode, kind })? {
            break;
        }
    }
    Ok(())
}

/// What an entry says of its file; nothing when it does not know.
fn file_type(value: u8) -> Option<FileKind> {
    match value {
        1 => Some(FileKind::Regular),
        2 => Some(FileKind::Directory),
        7 => Some(FileKind::Symlink),
        3..=6 => Some(FileKind::Special),
        _ => None,
    }
}
