//! XFS, versions 4 and 5, read only, after "XFS Algorithms & Data Structures". The journal is not replayed; files
//! on a realtime device are not read.
//!
//! ```text
//! superblock.rs ─► inode.rs ─► extents.rs (a list, or a B+tree) ─► file's bytes
//!                                   └─► directory.rs (short form, or blocks of entries)
//! ```

mod directory;
mod extents;
mod inode;
mod log;
mod superblock;

use std::io::Write;
use std::rc::Rc;

use crate::path::{About, EachEntry, Inodes, PATH_LIMIT_BYTES, write_from, write_zeros};
use crate::{FileKind, FsError, FsKind, Metadata, ReadAt};
use extents::Extent;
use inode::{Fork, Inode};
use superblock::Superblock;

/// The magic number and the length of what stands before each block of a symbolic link's target (version 5).
const LINK_MAGIC: &[u8] = b"XSLM";
const LINK_HEADER_LEN: usize = 56;
const LINK_CRC_AT: usize = 12;
/// A link has 1024 bytes at most, and a block 64 KiB.
const LINK_EXTENT_LIMIT: usize = 64 << 10;

/// An XFS file system.
pub(crate) struct Xfs {
    device: Rc<dyn ReadAt>,
    superblock: Superblock,
    about: About,
}

impl Xfs {
    /// Opens what fills `device`.
    pub(crate) fn open(device: Rc<dyn ReadAt>) -> Result<Xfs, FsError> {
        let superblock = Superblock::read(&*device)?;
        let mut notes = Vec::new();
        if superblock.needs_repair {
            notes.push("it says that it needs repair".to_owned());
        }
        if !log::is_clean(&*device, &superblock)? {
            notes.push(
                "it was not unmounted; its journal was not replayed, so that what was changed last may be missing"
                    .to_owned(),
            );
        }
        let about = About {
            kind: FsKind::Xfs,
            label: superblock.label.clone(),
            uuid: Some(superblock.uuid.clone()),
            notes,
        };
        Ok(Xfs { device, superblock, about })
    }

    fn inode(&self, number: u64) -> Result<Inode, FsError> {
        Inode::read(&*self.device, &self.superblock, number)
    }

    /// A block of metadata whose checksum (version 5) is at `crc_at`.
    fn block(&self, at: u64, len: usize, crc_at: usize) -> Result<Vec<u8>, FsError> {
        read_checked(&*self.device, &self.superblock, at, len, crc_at)
    }
}

/// Reads a block of metadata and, in version 5, checks its checksum at `crc_at`. `len` is at most 64 KiB.
fn read_checked(
    device: &dyn ReadAt,
    superblock: &Superblock,
    at: u64,
    len: usize,
    crc_at: usize,
) -> Result<Vec<u8>, FsError> {
    let mut block = vec![0; len];
    device.read_at(at, &mut block)?;
    if superblock.has_crc && !crc_is_right(&block, crc_at) {
        return Err(FsError::Damaged("the checksum of a block is wrong"));
    }
    Ok(block)
}

/// Whether the CRC-32C at `crc_at` is that of the block with zeros in its place.
fn crc_is_right(block: &[u8], crc_at: usize) -> bool {
    let Some((before, rest)) = block.split_at_checked(crc_at) else { return false };
    let Some((stored, after)) = rest.split_at_checked(4) else { return false };
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(before), &[0; 4]), after);
    // Fuzzing is to get further than a checksum.
    stored == crc.to_le_bytes() || cfg!(fuzzing)
}

impl Inodes for Xfs {
    type Id = u64;

    fn about(&self) -> &About {
        &self.about
    }

    fn root(&self) -> u64 {
        self.superblock.root_inode
    }

    fn lookup(&self, directory: &u64, name: &[u8]) -> Result<Option<u64>, FsError> {
        let mut found = None;
        directory::each(self, &self.inode(*directory)?, &mut |entry| {
            if entry.name == name {
                found = Some(entry.inode);
            }
            Ok(found.is_none())
        })?;
        Ok(found)
    }

    fn metadata_of(&self, number: &u64) -> Result<Metadata, FsError> {
        let inode = self.inode(*number)?;
        Ok(Metadata { kind: inode.kind, size_bytes: inode.size_bytes })
    }

    fn read_link(&self, number: &u64) -> Result<Vec<u8>, FsError> {
        let inode = self.inode(*number)?;
        let len = usize::try_from(inode.size_bytes).ok().filter(|&len| len <= PATH_LIMIT_BYTES);
        let len = len.ok_or(FsError::Damaged("a symbolic link is longer than any path"))?;
        if let Fork::Local(bytes) = &inode.fork {
            return Ok(bytes.get(..len).ok_or(FsError::Damaged("a symbolic link is cut short"))?.to_vec());
        }
        let mut target = Vec::new();
        for extent in extents::list(self, &inode)? {
            // A header and a checksum stand before what lies together, not before each block.
            let extent_bytes = extent.blocks.saturating_mul(self.superblock.block_bytes as u64);
            let extent_bytes = usize::try_from(extent_bytes).ok().filter(|&len| len <= LINK_EXTENT_LIMIT);
            let extent_bytes =
                extent_bytes.ok_or(FsError::Damaged("a symbolic link is longer than any path"))?;
            let bytes = self.block(self.superblock.block_at(extent.start)?, extent_bytes, LINK_CRC_AT)?;
            let text = if self.superblock.has_crc && bytes.starts_with(LINK_MAGIC) {
                &bytes[LINK_HEADER_LEN..]
            } else {
                &bytes[..]
            };
            target.extend_from_slice(&text[..text.len().min(len - target.len())]);
        }
        if target.len() < len { Err(FsError::Damaged("a symbolic link is cut short")) } else { Ok(target) }
    }

    fn entries(&self, directory: &u64, each: &mut EachEntry<'_>) -> Result<(), FsError> {
        directory::each(self, &self.inode(*directory)?, &mut |entry| {
            let kind = match entry.kind {
                Some(kind) => kind,
                None => self.inode(entry.inode)?.kind,
            };
            each(entry.name, kind).map(|()| true)
        })
    }

    fn read(
        &self,
        number: &u64,
        offset_bytes: u64,
        len_bytes: u64,
        out: &mut dyn Write,
    ) -> Result<(), FsError> {
        let inode = self.inode(*number)?;
        let block_bytes = self.superblock.block_bytes as u64;
        let end = offset_bytes.checked_add(len_bytes).ok_or(FsError::Damaged("a file is too large"))?;
        let mut at = offset_bytes;
        for Extent { offset, start, blocks, is_unwritten } in extents::list(self, &inode)? {
            // Both are products of numbers that the list has checked.
            let (from, to) = (offset * block_bytes, (offset + blocks) * block_bytes);
            if to <= at {
                continue;
            }
            if from >= end {
                break;
            }
            if from > at {
                write_zeros(from - at, out)?;
                at = from;
            }
            let part = to.min(end) - at;
            if is_unwritten {
                write_zeros(part, out)?;
            } else {
                write_from(&*self.device, self.superblock.block_at(start)? + (at - from), part, out)?;
            }
            at += part;
        }
        write_zeros(end - at, out)
    }
}

/// What a mode says of a file (`stat(2)`).
fn kind(mode: u16) -> FileKind {
    match mode & 0xF000 {
        0x8000 => FileKind::Regular,
        0x4000 => FileKind::Directory,
        0xA000 => FileKind::Symlink,
        _ => FileKind::Special,
    }
}
