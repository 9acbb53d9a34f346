//! A file's data: inline, in extents, compressed, or not there ("Extent data").

use std::io::Write;

use super::compression::Compression;
use super::tree::{Forest, Key};
use super::{EXTENT_DATA, Node};
use crate::FsError;
use crate::bytes::Bytes;
use crate::path::{write_from, write_zeros};

const RAW_LEN_AT: usize = 8;
const COMPRESSION_AT: usize = 16;
const ENCRYPTION_AT: usize = 17;
const KIND_AT: usize = 20;
const INLINE_AT: usize = 21;
const DISK_AT: usize = 21;
const DISK_LEN_AT: usize = 29;
const OFFSET_AT: usize = 37;
const LEN_AT: usize = 45;

const INLINE: u8 = 0;
const PREALLOCATED: u8 = 2;

/// Compressed extents have 128 KiB at most, packed or not, and those inline a sector.
const COMPRESSED_LIMIT_BYTES: u64 = 128 << 10;
const INLINE_LIMIT_BYTES: u64 = 64 << 10;

/// Writes bytes of a file.
pub(super) fn read(
    forest: &Forest,
    node: &Node,
    offset_bytes: u64,
    len_bytes: u64,
    out: &mut dyn Write,
) -> Result<(), FsError> {
    let end = offset_bytes.checked_add(len_bytes).ok_or(FsError::Damaged("a file is too large"))?;
    let mut reader = Reader { forest, at: offset_bytes, end, out };
    let from = Key { id: node.inode, kind: EXTENT_DATA, offset: 0 };
    let mut covered = 0;
    forest.each(node.tree, from, &mut |key, item| {
        if (key.id, key.kind) != (from.id, from.kind) || key.offset >= reader.end {
            return Ok(false);
        }
        if key.offset < covered {
            return Err(FsError::Damaged("a file's extents overlap"));
        }
        let len = extent_len(item)?;
        covered = key.offset.checked_add(len).ok_or(FsError::Damaged("an extent is too long"))?;
        if covered > reader.at {
            // What no extent covers is a hole.
            let hole = key.offset.saturating_sub(reader.at);
            reader.zeros(hole)?;
            reader.extent(item, reader.at - key.offset, covered.min(reader.end) - reader.at)?;
        }
        Ok(reader.at < reader.end)
    })?;
    reader.zeros(end - reader.at)
}

/// How much of the file an extent covers.
fn extent_len(item: Bytes<'_>) -> Result<u64, FsError> {
    if item.u8(KIND_AT)? == INLINE { item.le64(RAW_LEN_AT) } else { item.le64(LEN_AT) }
}

struct Reader<'a> {
    forest: &'a Forest,
    /// Where in the file it is.
    at: u64,
    end: u64,
    out: &'a mut dyn Write,
}

impl Reader<'_> {
    fn zeros(&mut self, len: u64) -> Result<(), FsError> {
        let len = len.min(self.end - self.at);
        self.at += len;
        write_zeros(len, self.out)
    }

    /// Writes `len` bytes of an extent, from `skip` on.
    fn extent(&mut self, item: Bytes<'_>, skip: u64, len: u64) -> Result<(), FsError> {
        let compression = Compression::parse(item.u8(COMPRESSION_AT)?)?;
        if item.u8(ENCRYPTION_AT)? != 0 {
            return Err(FsError::Unsupported("encryption".to_owned()));
        }
        let sector_bytes = self.forest.sector_bytes as usize;
        let kind = item.u8(KIND_AT)?;
        if kind == INLINE {
            let data = item.from(INLINE_AT)?.0;
            let raw_len = limited(item.le64(RAW_LEN_AT)?, INLINE_LIMIT_BYTES)?;
            return self.unpacked(compression.unpack(data, raw_len, sector_bytes)?.as_slice(), skip, len);
        }
        let (disk, disk_len) = (item.le64(DISK_AT)?, item.le64(DISK_LEN_AT)?);
        if disk == 0 || kind == PREALLOCATED {
            return self.zeros(len);
        }
        let skip =
            skip.checked_add(item.le64(OFFSET_AT)?).ok_or(FsError::Damaged("an extent is too long"))?;
        if compression != Compression::None {
            limited(disk_len, COMPRESSED_LIMIT_BYTES)?;
            let mut packed = Vec::new();
            copy(self.forest, disk, disk_len, &mut packed)?;
            let raw_len = limited(item.le64(RAW_LEN_AT)?, COMPRESSED_LIMIT_BYTES)?;
            return self.unpacked(&compression.unpack(&packed, raw_len, sector_bytes)?, skip, len);
        }
        if skip.checked_add(len).is_none_or(|end| end > disk_len) {
            return Err(FsError::Damaged("a file's extent is shorter than what is used of it"));
        }
        let from = disk.checked_add(skip).ok_or(FsError::Damaged("an extent lies too far behind"))?;
        copy(self.forest, from, len, self.out)?;
        self.at += len;
        Ok(())
    }

    /// Writes `len` bytes of an extent that was unpacked. What was not stored at its end is zeros.
    fn unpacked(&mut self, raw: &[u8], skip: u64, len: u64) -> Result<(), FsError> {
        let from = (skip as usize).min(raw.len());
        let part = &raw[from..from + (len as usize).min(raw.len() - from)];
        self.out.write_all(part).map_err(FsError::Write)?;
        self.at += part.len() as u64;
        self.zeros(len - part.len() as u64)
    }
}

/// A length that was claimed, if it is one that compressed extents have.
fn limited(len: u64, limit_bytes: u64) -> Result<usize, FsError> {
    if len > limit_bytes {
        return Err(FsError::Damaged("a compressed extent is too long"));
    }
    Ok(len as usize)
}

/// Writes what is at a logical address, which may be in several chunks.
fn copy(forest: &Forest, mut logical: u64, mut len: u64, out: &mut dyn Write) -> Result<(), FsError> {
    while len > 0 {
        let piece = forest.piece(logical, len)?;
        write_from(forest.device(), piece.copies[0], piece.len, out)?;
        logical += piece.len;
        len -= piece.len;
    }
    Ok(())
}
