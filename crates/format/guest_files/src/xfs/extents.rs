//! Where a file's blocks are ("Data Extents"): extents listed in the inode, or in the leaves of a B+tree.

use super::Xfs;
use super::inode::{Fork, Inode};
use crate::FsError;
use crate::bytes::Bytes;

const RECORD_LEN: usize = 16;
/// B+tree blocks: their magic numbers and headers in version 4 and 5.
const MAGIC_V4: &[u8] = b"BMAP";
const MAGIC_V5: &[u8] = b"BMA3";
const LEVEL_AT: usize = 4;
const COUNT_AT: usize = 6;
const OWNER_AT: usize = 56;
const CRC_AT: usize = 64;
const HEADER_V4_LEN: usize = 24;
const HEADER_V5_LEN: usize = 72;
/// The root in the inode has a level and a count only.
const ROOT_HEADER_LEN: usize = 4;
/// The format's bound (`XFS_BTREE_MAXLEVELS`).
const LEVEL_LIMIT: u16 = 9;

/// More extents than a file that is read here has: 24 bytes are kept of each.
const EXTENT_LIMIT: usize = 1 << 20;

/// Blocks of a file that lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// The first block's place in the file.
    pub(super) offset: u64,
    /// Its number in the file system.
    pub(super) start: u64,
    pub(super) blocks: u64,
    /// Whether it reads as zeros.
    pub(super) is_unwritten: bool,
}

/// A file's extents in their order.
pub(super) fn list(fs: &Xfs, inode: &Inode) -> Result<Vec<Extent>, FsError> {
    let mut list = Vec::new();
    match &inode.fork {
        Fork::Local(_) | Fork::None => {
            return Err(FsError::Damaged("a file has no extents where it should have some"));
        }
        Fork::Extents { bytes, count } => {
            let count = usize::try_from(*count).unwrap_or(usize::MAX);
            let records = Bytes(bytes).slice(0, count.saturating_mul(RECORD_LEN))?;
            add_records(records, &mut list)?;
        }
        Fork::Btree(root) => {
            let root = Bytes(root);
            let level = root.be16(0)?;
            if level == 0 || level > LEVEL_LIMIT {
                return Err(FsError::Damaged("a B+tree has an impossible depth"));
            }
            let walk = Walk { fs, owner: inode.number };
            walk.children(root.from(ROOT_HEADER_LEN)?, root.be16(2)?, level, &mut list)?;
        }
    }
    Ok(list)
}

struct Walk<'a> {
    fs: &'a Xfs,
    owner: u64,
}

impl Walk<'_> {
    /// Goes through what `count` pointers of a block lead to. Keys come first; behind the room for as many as fit
    /// are the pointers.
    fn children(
        &self,
        entries: Bytes<'_>,
        count: u16,
        level: u16,
        list: &mut Vec<Extent>,
    ) -> Result<(), FsError> {
        let room = entries.0.len() / 16;
        if usize::from(count) > room {
            return Err(FsError::Damaged("a B+tree's block claims more than it has room for"));
        }
        for index in 0..usize::from(count) {
            let block = entries.be64(room * 8 + index * 8)?;
            self.block(block, level - 1, list)?;
        }
        Ok(())
    }

    fn block(&self, block: u64, level: u16, list: &mut Vec<Extent>) -> Result<(), FsError> {
        let superblock = &self.fs.superblock;
        let bytes = self.fs.block(superblock.block_at(block)?, superblock.block_bytes, CRC_AT)?;
        let node = Bytes(&bytes);
        let (magic, header_len) =
            if superblock.has_crc { (MAGIC_V5, HEADER_V5_LEN) } else { (MAGIC_V4, HEADER_V4_LEN) };
        let is_owned = !superblock.has_crc || node.be64(OWNER_AT)? == self.owner;
        // The level has to go down by one each time, which is also what ends a tree that leads in circles.
        if !bytes.starts_with(magic) || node.be16(LEVEL_AT)? != level || !is_owned {
            return Err(FsError::Damaged("a B+tree leads to something else"));
        }
        let count = node.be16(COUNT_AT)?;
        if level == 0 {
            return add_records(node.slice(header_len, usize::from(count) * RECORD_LEN)?, list);
        }
        self.children(node.from(header_len)?, count, level, list)
    }
}

/// Adds the records of a list or a leaf, which have to go on where those before ended.
fn add_records(records: &[u8], list: &mut Vec<Extent>) -> Result<(), FsError> {
    for record in records.chunks_exact(RECORD_LEN) {
        let extent = parse(Bytes(record))?;
        let end = list.last().map_or(0, |last| last.offset + last.blocks);
        if extent.offset < end || extent.blocks == 0 {
            return Err(FsError::Damaged("a file's extents are out of order"));
        }
        if list.len() == EXTENT_LIMIT {
            return Err(FsError::Damaged("a file has more extents than are read here"));
        }
        list.push(extent);
    }
    Ok(())
}

/// A record: a flag, 54 bits of offset, 52 of start, 21 of length.
fn parse(record: Bytes<'_>) -> Result<Extent, FsError> {
    let (high, low) = (record.be64(0)?, record.be64(8)?);
    let extent = Extent {
        offset: high >> 9 & ((1 << 54) - 1),
        start: (high & 0x1FF) << 43 | low >> 21,
        blocks: low & ((1 << 21) - 1),
        is_unwritten: high >> 63 != 0,
    };
    // So that the end, in bytes, is a number: blocks have up to 2^16 bytes.
    if extent.offset >= 1 << 47 {
        return Err(FsError::Damaged("a file's extent lies too far behind"));
    }
    Ok(extent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_cut_into_its_fields() {
        let high = 1_u64 << 63 | 5 << 9 | 0x1AB;
        let low = 0x3_u64 << 21 | 77;
        let record = [high.to_be_bytes(), low.to_be_bytes()].concat();
        let extent = parse(Bytes(&record)).unwrap();
        let start = 0x1AB_u64 << 43 | 3;
        assert_eq!(extent, Extent { offset: 5, start, blocks: 77, is_unwritten: true });
    }

    #[test]
    fn records_out_of_order_are_refused() {
        let record = |offset: u64, blocks: u64| {
            [(offset << 9).to_be_bytes(), (1 << 21 | blocks).to_be_bytes()].concat()
        };
        let add = |records: &[Vec<u8>]| add_records(&records.concat(), &mut Vec::new());
        assert!(add(&[record(0, 4), record(4, 1), record(9, 1)]).is_ok());
        assert!(add(&[record(0, 4), record(3, 1)]).is_err());
        assert!(add(&[record(0, 0)]).is_err());
        assert!(add(&[record(1 << 53, 1)]).is_err());
    }
}
