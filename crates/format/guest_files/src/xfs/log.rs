//! Whether the journal is empty ("Journaling Log"): the newest record in it has to be that of unmounting. It is not
//! replayed.

use super::superblock::Superblock;
use crate::bytes::Bytes;
use crate::{FsError, ReadAt};

/// The journal's own blocks.
const BLOCK_BYTES: u64 = 512;
const RECORD_MAGIC: u32 = 0xFEED_BABE;
const CYCLE_AT: usize = 4;
const VERSION_AT: usize = 8;
const OPERATIONS_AT: usize = 40;
const RECORD_SIZE_AT: usize = 320;
/// A header of version 2 has a block for each 32 KiB that a record may have.
const BYTES_PER_HEADER: u32 = 32 << 10;
const OPERATION_FLAGS_AT: usize = 9;
const UNMOUNT: u8 = 0x20;
/// How far a record's header is looked for behind the newest block: records have 256 KiB at most.
const RECORD_LIMIT_BLOCKS: u64 = 520;

struct Log<'a> {
    device: &'a dyn ReadAt,
    at: u64,
    blocks: u64,
}

/// Whether nothing waits in the journal. One that makes no sense is not empty.
pub(super) fn is_clean(device: &dyn ReadAt, superblock: &Superblock) -> Result<bool, FsError> {
    let Some(start) = superblock.log_start else { return Ok(true) };
    let Ok(at) = superblock.block_at(start) else { return Ok(false) };
    let len_bytes = u64::from(superblock.log_blocks) * superblock.block_bytes as u64;
    if len_bytes < BLOCK_BYTES || at.checked_add(len_bytes).is_none_or(|end| end > device.len_bytes()) {
        return Ok(false);
    }
    let log = Log { device, at, blocks: len_bytes / BLOCK_BYTES };
    let head = log.head()?;
    log.ends_with_unmount(head)
}

impl Log<'_> {
    fn block(&self, block: u64) -> Result<[u8; BLOCK_BYTES as usize], FsError> {
        let mut bytes = [0; BLOCK_BYTES as usize];
        self.device.read_at(self.at + block * BLOCK_BYTES, &mut bytes)?;
        Ok(bytes)
    }

    /// Each block begins with the number of the round in which it was written, headers after their magic number.
    fn cycle(&self, block: u64) -> Result<u32, FsError> {
        let bytes = self.block(block)?;
        let first = Bytes(&bytes).be32(0)?;
        if first == RECORD_MAGIC { Bytes(&bytes).be32(CYCLE_AT) } else { Ok(first) }
    }

    /// The block behind the newest one: where the number of the round changes, found by halving.
    fn head(&self) -> Result<u64, FsError> {
        let newest = self.cycle(0)?;
        let (mut inside, mut outside) = (0, self.blocks);
        while outside - inside > 1 {
            let middle = inside + (outside - inside) / 2;
            if self.cycle(middle)? == newest {
                inside = middle;
            } else {
                outside = middle;
            }
        }
        Ok(outside)
    }

    /// Whether the last record before `head` consists of unmounting alone.
    fn ends_with_unmount(&self, head: u64) -> Result<bool, FsError> {
        for back in 1..=RECORD_LIMIT_BLOCKS.min(self.blocks) {
            let block = (head + self.blocks - back) % self.blocks;
            let header = self.block(block)?;
            let header = Bytes(&header);
            if header.be32(0)? != RECORD_MAGIC {
                continue;
            }
            let size = if header.be32(VERSION_AT)? & 2 != 0 { header.be32(RECORD_SIZE_AT)? } else { 0 };
            let header_blocks = u64::from(size.div_ceil(BYTES_PER_HEADER).max(1));
            let operation = self.block((block + header_blocks) % self.blocks)?;
            let is_unmount = Bytes(&operation).u8(OPERATION_FLAGS_AT)? & UNMOUNT != 0;
            return Ok(header.be32(OPERATIONS_AT)? == 1 && is_unmount);
        }
        Ok(false)
    }
}
