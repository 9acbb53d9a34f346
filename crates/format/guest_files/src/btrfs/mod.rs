//! Btrfs on one device, read only: single, DUP and RAID1 chunks, subvolumes, compressed extents, after the on-disk
//! format's documentation. Checksums of metadata are verified (CRC-32C); the log tree is not replayed.
//!
//! ```text
//! superblock.rs ─► chunks.rs (logical to physical) ─► tree.rs (nodes, keys) ─► mod.rs (inodes, names)
//!                                                                                └─► data.rs ─► compression.rs
//! ```

mod chunks;
mod compression;
mod data;
mod lzo;
mod subvolumes;
mod superblock;
mod tree;

use std::io::Write;
use std::rc::Rc;

use crate::bytes::Bytes;
use crate::path::{About, EachEntry, Inodes, PATH_LIMIT_BYTES};
use crate::{FileKind, FileSystem, FsError, FsKind, Metadata, ReadAt};
use tree::{Forest, Key, Root};

/// Types of items ("Item types").
const INODE_ITEM: u8 = 1;
const INODE_REF: u8 = 12;
const DIR_ITEM: u8 = 84;
const DIR_INDEX: u8 = 96;
const EXTENT_DATA: u8 = 108;
const ROOT_ITEM: u8 = 132;
const ROOT_BACKREF: u8 = 144;
const CHUNK_ITEM: u8 = 228;

/// The tree of files that every file system has, and the first inode that a tree of files has.
const FS_TREE: u64 = 5;
const FIRST_INODE: u64 = 256;

/// Fields of an inode's item, and of a directory's.
const SIZE_AT: usize = 16;
const MODE_AT: usize = 52;
const ENTRY_DATA_LEN_AT: usize = 25;
const ENTRY_NAME_LEN_AT: usize = 27;
const ENTRY_KIND_AT: usize = 29;
const ENTRY_NAME_AT: usize = 30;

/// A btrfs, seen from one of its subvolumes.
pub(crate) struct Btrfs {
    forest: Rc<Forest>,
    about: About,
    root: Node,
    /// Where the subvolume is below the uppermost one.
    path: String,
}

/// An inode in a tree of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    tree: Root,
    inode: u64,
}

impl Btrfs {
    /// Opens what fills `device`, at its default subvolume.
    pub(crate) fn open(device: Rc<dyn ReadAt>) -> Result<Btrfs, FsError> {
        let (forest, about) = Forest::open(device)?;
        let forest = Rc::new(forest);
        let default = subvolumes::default(&forest)?;
        let path = if default == FS_TREE { String::new() } else { subvolumes::path(&forest, default)? };
        Btrfs::at(forest, about, default, path)
    }

    fn at(forest: Rc<Forest>, about: About, tree: u64, path: String) -> Result<Btrfs, FsError> {
        let root = Node { tree: subvolumes::root(&forest, tree)?, inode: FIRST_INODE };
        Ok(Btrfs { forest, about, root, path })
    }

    fn item<T>(
        &self,
        node: &Node,
        kind: u8,
        parse: impl FnOnce(Bytes<'_>) -> Result<T, FsError>,
    ) -> Result<Option<T>, FsError> {
        self.forest.find(node.tree, Key { id: node.inode, kind, offset: 0 }, parse)
    }

    /// What an entry of a directory leads to.
    fn target(&self, directory: &Node, location: Key) -> Result<Node, FsError> {
        match location.kind {
            INODE_ITEM => Ok(Node { tree: directory.tree, inode: location.id }),
            ROOT_ITEM => Ok(Node { tree: subvolumes::root(&self.forest, location.id)?, inode: FIRST_INODE }),
            _ => Err(FsError::Damaged("a directory's entry leads to no file")),
        }
    }
}

/// An entry in a directory's item.
struct Entry<'a> {
    location: Key,
    name: &'a [u8],
    kind: FileKind,
}

/// The entries of an item: several when their names have the same hash.
fn each_entry<'a>(
    mut item: Bytes<'a>,
    each: &mut dyn FnMut(Entry<'a>) -> Result<(), FsError>,
) -> Result<(), FsError> {
    while !item.0.is_empty() {
        let name_len = usize::from(item.le16(ENTRY_NAME_LEN_AT)?);
        let data_len = usize::from(item.le16(ENTRY_DATA_LEN_AT)?);
        let kind = match item.u8(ENTRY_KIND_AT)? {
            1 => FileKind::Regular,
            2 => FileKind::Directory,
            7 => FileKind::Symlink,
            _ => FileKind::Special,
        };
        let name = item.slice(ENTRY_NAME_AT, name_len)?;
        each(Entry { location: Key::parse(item)?, name, kind })?;
        item = item.from(ENTRY_NAME_AT + name_len + data_len)?;
    }
    Ok(())
}

/// The hash under which a directory keeps a name: CRC-32C begun with ~1 and not inverted.
fn name_hash(name: &[u8]) -> u64 {
    u64::from(!crc32c::crc32c_append(1, name))
}

impl Inodes for Btrfs {
    type Id = Node;

    fn about(&self) -> &About {
        &self.about
    }

    fn root(&self) -> Node {
        self.root
    }

    fn lookup(&self, directory: &Node, name: &[u8]) -> Result<Option<Node>, FsError> {
        let key = Key { id: directory.inode, kind: DIR_ITEM, offset: name_hash(name) };
        let found = self.forest.find(directory.tree, key, |item| {
            let mut found = None;
            each_entry(item, &mut |entry| {
                if entry.name == name {
                    found = Some(entry.location);
                }
                Ok(())
            })?;
            Ok(found)
        })?;
        found.flatten().map(|location| self.target(directory, location)).transpose()
    }

    fn metadata_of(&self, node: &Node) -> Result<Metadata, FsError> {
        let metadata = self.item(node, INODE_ITEM, |item| {
            let kind = match item.le32(MODE_AT)? & 0xF000 {
                0x8000 => FileKind::Regular,
                0x4000 => FileKind::Directory,
                0xA000 => FileKind::Symlink,
                _ => FileKind::Special,
            };
            Ok(Metadata { kind, size_bytes: item.le64(SIZE_AT)? })
        })?;
        metadata.ok_or(FsError::Damaged("an entry of a directory leads to no inode"))
    }

    fn read_link(&self, node: &Node) -> Result<Vec<u8>, FsError> {
        let size_bytes = self.metadata_of(node)?.size_bytes;
        if size_bytes > PATH_LIMIT_BYTES as u64 {
            return Err(FsError::Damaged("a symbolic link is longer than any path"));
        }
        let mut target = Vec::new();
        self.read(node, 0, size_bytes, &mut target)?;
        Ok(target)
    }

    fn entries(&self, directory: &Node, each: &mut EachEntry<'_>) -> Result<(), FsError> {
        let from = Key { id: directory.inode, kind: DIR_INDEX, offset: 0 };
        self.forest.each(directory.tree, from, &mut |key, item| {
            if (key.id, key.kind) != (from.id, from.kind) {
                return Ok(false);
            }
            each_entry(item, &mut |entry| each(entry.name, entry.kind))?;
            Ok(true)
        })
    }

    fn read(
        &self,
        node: &Node,
        offset_bytes: u64,
        len_bytes: u64,
        out: &mut dyn Write,
    ) -> Result<(), FsError> {
        data::read(&self.forest, node, offset_bytes, len_bytes, out)
    }

    fn open_subvolume(&self, path: &str) -> Result<Option<Box<dyn FileSystem>>, FsError> {
        let about = || About {
            kind: FsKind::Btrfs,
            label: self.about.label.clone(),
            uuid: self.about.uuid.clone(),
            notes: self.about.notes.clone(),
        };
        let uppermost = Btrfs::at(self.forest.clone(), about(), FS_TREE, String::new())?;
        if path.is_empty() {
            return Ok(Some(Box::new(uppermost)));
        }
        let root = crate::path::resolve(&uppermost, path.as_bytes())?;
        if root.inode != FIRST_INODE {
            return Err(FsError::NotFound);
        }
        let forest = self.forest.clone();
        Ok(Some(Box::new(Btrfs { forest, about: about(), root, path: path.to_owned() })))
    }

    fn path_of_subvolume(&self) -> &str {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hashed_as_btrfs_does() {
        // The hash of `default` is written down in the format's documentation.
        assert_eq!(name_hash(b"default"), 0x8DBF_C2D2);
    }
}
