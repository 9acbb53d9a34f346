//! Chunks: which logical addresses are where on this device ("Chunk tree").

use std::collections::BTreeMap;

use super::CHUNK_ITEM;
use super::tree::Key;
use crate::FsError;
use crate::bytes::Bytes;

/// Fields of a chunk, and of its stripes.
const LEN_AT: usize = 0;
const TYPE_AT: usize = 24;
const STRIPE_COUNT_AT: usize = 44;
const STRIPES_AT: usize = 48;
const STRIPE_LEN: usize = 32;
const DEVICE_AT: usize = 0;
const PHYSICAL_AT: usize = 8;

/// Profiles that spread a chunk's data over devices: RAID0, RAID10, RAID5, RAID6.
const SPREAD: u64 = 0x8 | 0x40 | 0x80 | 0x100;
/// More chunks than a disk of any size has: they have a GiB each, most of them.
const CHUNK_LIMIT: usize = 1 << 16;
/// Copies that one device can have.
const COPY_LIMIT: usize = 4;

/// The chunks of a file system, by their first logical address.
#[derive(Default)]
pub(super) struct Chunks {
    map: BTreeMap<u64, Chunk>,
}

struct Chunk {
    len: u64,
    /// Where its copies begin on this device; none when it is spread, or elsewhere.
    copies: Vec<u64>,
    is_spread: bool,
}

/// Part of a chunk that lies together.
pub(super) struct Piece {
    /// Where its copies are on the device; one at least.
    pub(super) copies: Vec<u64>,
    pub(super) len: u64,
}

impl Chunks {
    /// Adds a chunk's item and says how long it is.
    pub(super) fn add(&mut self, key: Key, item: Bytes<'_>, device: u64) -> Result<usize, FsError> {
        let stripes = usize::from(item.le16(STRIPE_COUNT_AT)?);
        let kind = item.le64(TYPE_AT)?;
        let item_len = STRIPES_AT + stripes * STRIPE_LEN;
        let mut copies = Vec::new();
        for index in 0..stripes {
            let stripe = item.from(STRIPES_AT + index * STRIPE_LEN)?;
            if stripe.le64(DEVICE_AT)? == device && copies.len() < COPY_LIMIT {
                copies.push(stripe.le64(PHYSICAL_AT)?);
            }
        }
        let is_spread = kind & SPREAD != 0 && stripes > 1;
        if is_spread {
            copies.clear();
        }
        let len = item.le64(LEN_AT)?;
        if key.kind != CHUNK_ITEM || len == 0 || key.offset.checked_add(len).is_none() {
            return Err(FsError::Damaged("a chunk makes no sense"));
        }
        if self.map.len() == CHUNK_LIMIT {
            return Err(FsError::Damaged("it has more chunks than a disk has room for"));
        }
        self.map.insert(key.offset, Chunk { len, copies, is_spread });
        Ok(item_len)
    }

    /// Adds the chunks that a superblock holds: keys and items, one behind the other.
    pub(super) fn add_system(&mut self, mut chunks: Bytes<'_>, device: u64) -> Result<(), FsError> {
        while !chunks.0.is_empty() {
            let item = chunks.from(Key::LEN)?;
            let len = self.add(Key::parse(chunks)?, item, device)?;
            chunks = item.from(len)?;
        }
        Ok(())
    }

    /// Where `len` bytes from a logical address on are, as far as they lie together.
    pub(super) fn piece(&self, logical: u64, len: u64) -> Result<Piece, FsError> {
        let (start, chunk) =
            self.map.range(..=logical).next_back().ok_or(FsError::Damaged("an address is in no chunk"))?;
        let inside = logical - start;
        if inside >= chunk.len {
            return Err(FsError::Damaged("an address is in no chunk"));
        }
        if chunk.is_spread {
            return Err(FsError::Unsupported("RAID over several devices".to_owned()));
        }
        let copies: Vec<u64> = chunk.copies.iter().filter_map(|copy| copy.checked_add(inside)).collect();
        if copies.is_empty() {
            return Err(FsError::Unsupported(
                "another device, which this disk is only a part with".to_owned(),
            ));
        }
        Ok(Piece { copies, len: len.min(chunk.len - inside) })
    }
}
