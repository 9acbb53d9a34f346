//! Trees: nodes full of keys ("Btree").

use std::rc::Rc;

use super::chunks::{Chunks, Piece};
use super::superblock::Superblock;
use crate::bytes::Bytes;
use crate::path::About;
use crate::{FsError, FsKind, ReadAt};

/// A node's header.
const CHECKED_FROM: usize = 32;
const PLACE_AT: usize = 0x30;
const COUNT_AT: usize = 0x60;
const LEVEL_AT: usize = 0x64;
const HEADER_LEN: usize = 0x65;
/// What leads from a node to another, and what leads from a leaf to an item.
const POINTER_LEN: usize = 33;
const POINTER_AT: usize = 17;
const ITEM_LEN: usize = 25;
const ITEM_AT: usize = 17;
const ITEM_LEN_AT: usize = 21;
/// Trees are not deeper (`BTRFS_MAX_LEVEL`).
const LEVEL_LIMIT: u8 = 8;

/// What items are found by, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) id: u64,
    pub(super) kind: u8,
    pub(super) offset: u64,
}

impl Key {
    pub(super) const LEN: usize = 17;

    pub(super) fn parse(bytes: Bytes<'_>) -> Result<Key, FsError> {
        Ok(Key { id: bytes.le64(0)?, kind: bytes.u8(8)?, offset: bytes.le64(9)? })
    }
}

/// A tree's uppermost node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) logical: u64,
    pub(super) level: u8,
}

/// Takes an item and says whether it wants more.
pub(super) type EachItem<'a> = dyn FnMut(Key, Bytes<'_>) -> Result<bool, FsError> + 'a;

/// All trees of a file system.
pub(super) struct Forest {
    device: Rc<dyn ReadAt>,
    chunks: Chunks,
    pub(super) root: Root,
    pub(super) sector_bytes: u32,
    node_bytes: usize,
    has_crc32c: bool,
}

impl Forest {
    /// Reads the superblock and the tree of chunks.
    pub(super) fn open(device: Rc<dyn ReadAt>) -> Result<(Forest, About), FsError> {
        let superblock = Superblock::read(&*device)?;
        let mut chunks = Chunks::default();
        chunks.add_system(Bytes(&superblock.system_chunks), superblock.device)?;
        let mut forest = Forest {
            device,
            chunks,
            root: Root { logical: superblock.root.0, level: superblock.root.1 },
            sector_bytes: superblock.sector_bytes,
            node_bytes: superblock.node_bytes,
            has_crc32c: superblock.has_crc32c,
        };
        let chunk_root = Root { logical: superblock.chunk_root.0, level: superblock.chunk_root.1 };
        let mut chunks = Chunks::default();
        forest.each(chunk_root, Key { id: 0, kind: 0, offset: 0 }, &mut |key, item| {
            if key.kind == super::CHUNK_ITEM {
                chunks.add(key, item, superblock.device)?;
            }
            Ok(true)
        })?;
        forest.chunks = chunks;
        let about = About {
            kind: FsKind::Btrfs,
            notes: notes(&superblock),
            label: superblock.label,
            uuid: Some(superblock.uuid),
        };
        Ok((forest, about))
    }

    /// Where `len` bytes from a logical address on are, as far as they lie together.
    pub(super) fn piece(&self, logical: u64, len: u64) -> Result<Piece, FsError> {
        self.chunks.piece(logical, len)
    }

    pub(super) fn device(&self) -> &dyn ReadAt {
        &*self.device
    }

    /// The item of exactly this key, if there is one.
    pub(super) fn find<T>(
        &self,
        tree: Root,
        key: Key,
        parse: impl FnOnce(Bytes<'_>) -> Result<T, FsError>,
    ) -> Result<Option<T>, FsError> {
        let mut parse = Some(parse);
        let mut found = None;
        self.each(tree, key, &mut |at, item| {
            if at == key
                && let Some(parse) = parse.take()
            {
                found = Some(parse(item)?);
            }
            Ok(false)
        })?;
        Ok(found)
    }

    /// Calls `each` for the items from a key on, in their order.
    pub(super) fn each(&self, tree: Root, from: Key, each: &mut EachItem<'_>) -> Result<(), FsError> {
        if tree.level >= LEVEL_LIMIT {
            return Err(FsError::Damaged("a tree has an impossible depth"));
        }
        self.each_below(tree, from, each).map(drop)
    }

    /// Goes through a node and what is below it, and says whether more is wanted. The level goes down by one each
    /// time, which is what ends a tree that leads in circles.
    fn each_below(&self, at: Root, from: Key, each: &mut EachItem<'_>) -> Result<bool, FsError> {
        let bytes = self.node(at)?;
        let node = Bytes(&bytes);
        let count = node.le32(COUNT_AT)? as usize;
        let entry_len = if at.level == 0 { ITEM_LEN } else { POINTER_LEN };
        if count > (bytes.len() - HEADER_LEN) / entry_len {
            return Err(FsError::Damaged("a node claims more than it has room for"));
        }
        let key = |index: usize| Key::parse(node.from(HEADER_LEN + index * entry_len)?);
        let first = first_from(count, from, key)?;
        if at.level == 0 {
            for index in first..count {
                let entry = node.from(HEADER_LEN + index * ITEM_LEN)?;
                let (offset, len) = (entry.le32(ITEM_AT)? as usize, entry.le32(ITEM_LEN_AT)? as usize);
                let item = node.slice(HEADER_LEN.saturating_add(offset), len)?;
                let key = key(index)?;
                if key >= from && !each(key, Bytes(item))? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        // What is before a pointer's key may still be below the one before it.
        for index in first.saturating_sub(1)..count {
            let logical = node.le64(HEADER_LEN + index * POINTER_LEN + POINTER_AT)?;
            if !self.each_below(Root { logical, level: at.level - 1 }, from, each)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A node, from the first of its copies that is sound.
    fn node(&self, at: Root) -> Result<Vec<u8>, FsError> {
        let piece = self.piece(at.logical, self.node_bytes as u64)?;
        if piece.len < self.node_bytes as u64 {
            return Err(FsError::Damaged("a node reaches beyond its chunk"));
        }
        let mut failure = FsError::Damaged("a tree leads to something else");
        for copy in piece.copies {
            let mut bytes = vec![0; self.node_bytes];
            match self.device.read_at(copy, &mut bytes) {
                Ok(()) if self.is_sound(&bytes, at)? => return Ok(bytes),
                Ok(()) => {}
                Err(error) => failure = error.into(),
            }
        }
        Err(failure)
    }

    fn is_sound(&self, bytes: &[u8], at: Root) -> Result<bool, FsError> {
        let node = Bytes(bytes);
        let is_it = node.le64(PLACE_AT)? == at.logical && node.u8(LEVEL_AT)? == at.level;
        Ok(is_it && (!self.has_crc32c || crc32c::crc32c(&bytes[CHECKED_FROM..]) == node.le32(0)?))
    }
}

/// The first of `count` keys that is not before `from`, found by halving.
fn first_from(
    count: usize,
    from: Key,
    key: impl Fn(usize) -> Result<Key, FsError>,
) -> Result<usize, FsError> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if key(middle)? < from {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

fn notes(superblock: &Superblock) -> Vec<String> {
    let mut notes = Vec::new();
    if superblock.is_copy {
        notes.push("its superblock is damaged; a copy of it was taken".to_owned());
    }
    if superblock.has_log {
        notes.push(
            "it was not unmounted; its log was not replayed, so that what was changed last may be missing"
                .to_owned(),
        );
    }
    if superblock.devices > 1 {
        notes.push(format!("it is spread over {} devices, of which this is one", superblock.devices));
    }
    if !superblock.has_crc32c {
        notes.push("its checksums are of a kind that is not verified".to_owned());
    }
    notes
}
