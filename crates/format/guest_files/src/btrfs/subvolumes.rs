//! Subvolumes: trees of files that hang in one another.

use super::tree::{Forest, Key, Root};
use super::{DIR_ITEM, FIRST_INODE, FS_TREE, INODE_REF, ROOT_BACKREF, ROOT_ITEM, each_entry, name_hash};
use crate::FsError;

/// The directory in the tree of roots that names the default subvolume.
const ROOT_TREE_DIRECTORY: u64 = 6;
/// Fields of a root's item.
const NODE_AT: usize = 176;
const LEVEL_AT: usize = 238;
/// How deep subvolumes and directories around them are followed to name one.
const DEPTH_LIMIT: usize = 64;

/// The number of the default subvolume's tree.
pub(super) fn default(forest: &Forest) -> Result<u64, FsError> {
    let key = Key { id: ROOT_TREE_DIRECTORY, kind: DIR_ITEM, offset: name_hash(b"default") };
    let default = forest.find(forest.root, key, |item| {
        let mut default = None;
        each_entry(item, &mut |entry| {
            if entry.name == b"default" && entry.location.kind == ROOT_ITEM {
                default = Some(entry.location.id);
            }
            Ok(())
        })?;
        Ok(default)
    })?;
    Ok(default.flatten().unwrap_or(FS_TREE))
}

/// The uppermost node of a tree, by its number.
pub(super) fn root(forest: &Forest, tree: u64) -> Result<Root, FsError> {
    let mut found = None;
    let from = Key { id: tree, kind: ROOT_ITEM, offset: 0 };
    forest.each(forest.root, from, &mut |key, item| {
        if (key.id, key.kind) == (tree, ROOT_ITEM) {
            found = Some(Root { logical: item.le64(NODE_AT)?, level: item.u8(LEVEL_AT)? });
        }
        Ok(false)
    })?;
    found.ok_or(FsError::Damaged("a subvolume has no root"))
}

/// Where a subvolume is below the uppermost one.
pub(super) fn path(forest: &Forest, mut tree: u64) -> Result<String, FsError> {
    let mut names: Vec<String> = Vec::new();
    while tree != FS_TREE {
        let from = Key { id: tree, kind: ROOT_BACKREF, offset: 0 };
        let (parent, mut directory, name) = reference(forest, forest.root, from, 0, 18, 16)?;
        names.push(name);
        let parent_root = root(forest, parent)?;
        while directory != FIRST_INODE {
            let from = Key { id: directory, kind: INODE_REF, offset: 0 };
            let (above, _, name) = reference(forest, parent_root, from, 0, 10, 8)?;
            names.push(name);
            directory = above;
            if names.len() > DEPTH_LIMIT {
                return Err(FsError::Damaged("subvolumes hang in a circle"));
            }
        }
        if names.len() > DEPTH_LIMIT {
            return Err(FsError::Damaged("subvolumes hang in a circle"));
        }
        tree = parent;
    }
    names.reverse();
    Ok(names.join("/"))
}

/// The first reference to something: the key's offset (who holds it), a number at `number_at`, and a name, whose
/// length is at `len_at`.
fn reference(
    forest: &Forest,
    tree: Root,
    from: Key,
    number_at: usize,
    name_at: usize,
    len_at: usize,
) -> Result<(u64, u64, String), FsError> {
    let mut found = None;
    forest.each(tree, from, &mut |key, item| {
        if (key.id, key.kind) == (from.id, from.kind) {
            let name = item.slice(name_at, usize::from(item.le16(len_at)?))?;
            let name = String::from_utf8_lossy(name).into_owned();
            found = Some((key.offset, item.le64(number_at)?, name));
        }
        Ok(false)
    })?;
    found.ok_or(FsError::Damaged("a subvolume hangs nowhere"))
}
