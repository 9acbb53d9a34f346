//! The tree that layers make when they are put over one another.
//!
//! Links are followed inside it as a process does whose root it is: `..` of the root is the root.

use std::collections::BTreeMap;

use super::error::LayerError;
use super::names::{PART_BYTES_MAX, PATH_BYTES_MAX, Path, is_reserved};
use super::pax::Attribute;

/// Most symbolic links on one way (`MAXSYMLINKS` of Linux).
const LINKS_MAX: usize = 40;
/// What a folder is like that no layer describes.
const FOLDER_MODE: u32 = 0o755;

/// What a file is.
#[derive(Debug)]
pub(super) enum Content {
    File { data_offset: u64, data_bytes: u64 },
    Folder,
    SymbolicLink(Box<[u8]>),
    Pipe,
}

/// A file, which may have several names.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) content: Content,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: u64,
    pub(super) attributes: Vec<Attribute>,
    /// It has, or had, several names.
    pub(super) shared: bool,
}

type NodeId = u32;

/// A name in the tree.
#[derive(Debug)]
struct Node {
    parent: NodeId,
    inode: u32,
    /// The layer that described it last.
    layer: u16,
    /// Length of its path.
    path_bytes: u16,
    /// The layer that has hidden what lower ones have below it.
    pruned: u16,
    children: BTreeMap<Box<[u8]>, NodeId>,
}

/// See the module.
pub(super) struct Tree {
    nodes: Vec<Node>,
    inodes: Vec<Inode>,
    layer: u16,
}

const ROOT: NodeId = 0;

impl Tree {
    pub(super) fn new() -> Tree {
        let root =
            Node { parent: ROOT, inode: 0, layer: 0, path_bytes: 0, pruned: 0, children: BTreeMap::new() };
        Tree { nodes: vec![root], inodes: vec![folder()], layer: 0 }
    }

    /// What comes now lies over what came before.
    pub(super) fn begin_layer(&mut self) -> Result<(), LayerError> {
        let next = self.layer.checked_add(1);
        self.layer = next.ok_or(LayerError::TooMany { what: "layers", limit: u64::from(u16::MAX) })?;
        Ok(())
    }

    /// Puts a file at a path; what was there is gone, but a folder stays with what is in it if the new one is a
    /// folder, too.
    pub(super) fn insert(&mut self, path: &Path, inode: Inode) -> Result<(), LayerError> {
        let is_folder = matches!(inode.content, Content::Folder);
        let Some((name, parents)) = path.0.split_last() else {
            if is_folder {
                self.inodes[0] = inode;
            }
            return Ok(());
        };
        let parent = self.folder_at(parents)?;
        let old = self.child(parent, name);
        if let Some(old) = old.filter(|old| is_folder && self.is_folder(*old)) {
            let number = self.nodes[old as usize].inode as usize;
            self.inodes[number] = inode;
            self.nodes[old as usize].layer = self.layer;
            return Ok(());
        }
        let number = self.add_inode(inode);
        self.put(parent, name, number)?;
        Ok(())
    }

    /// Gives a file another name; whether there is such a file.
    pub(super) fn link(&mut self, path: &Path, target: &Path) -> Result<bool, LayerError> {
        let Some(target) = self.find(target)?.filter(|target| !self.is_folder(*target)) else {
            return Ok(false);
        };
        let Some((name, parents)) = path.0.split_last() else { return Ok(false) };
        let parent = self.folder_at(parents)?;
        let number = self.nodes[target as usize].inode;
        if self.child(parent, name) == Some(target) {
            // A link to itself.
            return Ok(true);
        }
        self.inodes[number as usize].shared = true;
        self.put(parent, name, number)?;
        Ok(true)
    }

    /// Takes away what lower layers have at a path.
    pub(super) fn hide(&mut self, path: &Path) -> Result<(), LayerError> {
        let Some(node) = self.find(path)? else { return Ok(()) };
        self.prune(node);
        let Node { parent, layer, ref children, .. } = self.nodes[node as usize];
        if let Some(name) = path.0.last().filter(|_| layer < self.layer && children.is_empty()) {
            self.nodes[parent as usize].children.remove(name);
        }
        Ok(())
    }

    /// Takes away what lower layers have in a folder.
    pub(super) fn hide_contents(&mut self, path: &Path) -> Result<(), LayerError> {
        if let Some(node) = self.find(path)? {
            self.prune(node);
        }
        Ok(())
    }

    /// Takes away everything of lower layers below a node; what stays because of this layer's files in it stays.
    fn prune(&mut self, top: NodeId) {
        // Nothing of lower layers comes back.
        if self.nodes[top as usize].pruned == self.layer {
            return;
        }
        self.nodes[top as usize].pruned = self.layer;
        // Parents come before their children here, so backwards children are seen to first.
        let mut below = vec![top];
        let mut at = 0;
        while at < below.len() {
            below.extend(self.nodes[below[at] as usize].children.values());
            at += 1;
        }
        for node in below.into_iter().rev() {
            let mut children = std::mem::take(&mut self.nodes[node as usize].children);
            children.retain(|_, child| {
                let child = &self.nodes[*child as usize];
                child.layer == self.layer || !child.children.is_empty()
            });
            self.nodes[node as usize].children = children;
        }
    }

    /// The folder at a path; made, with those on the way, where there is none.
    fn folder_at(&mut self, parts: &[Box<[u8]>]) -> Result<NodeId, LayerError> {
        self.walk(parts, true).map(|node| node.unwrap_or(ROOT))
    }

    /// What is at a path; links on the way are followed, one at its end is not.
    fn find(&mut self, path: &Path) -> Result<Option<NodeId>, LayerError> {
        let Some((name, parents)) = path.0.split_last() else { return Ok(Some(ROOT)) };
        let parent = self.walk(parents, false)?;
        Ok(parent.and_then(|parent| self.child(parent, name)))
    }

    /// Goes down a path to a folder, following links; `make`s what is missing, or says that it is.
    fn walk(&mut self, parts: &[Box<[u8]>], make: bool) -> Result<Option<NodeId>, LayerError> {
        let mut at = ROOT;
        let mut links = 0;
        let mut left: Vec<Box<[u8]>> = parts.iter().rev().cloned().collect();
        while let Some(part) = left.pop() {
            match &*part {
                b"" | b"." => continue,
                b".." => {
                    at = self.nodes[at as usize].parent;
                    continue;
                }
                _ => {}
            }
            let next = self.child(at, &part);
            let content = next.map(|next| &self.inodes[self.nodes[next as usize].inode as usize].content);
            match (next, content) {
                (Some(next), Some(Content::Folder)) => at = next,
                (Some(_), Some(Content::SymbolicLink(target))) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(LayerError::Circle);
                    }
                    if target.starts_with(b"/") {
                        at = ROOT;
                    }
                    left.extend(target.split(|byte| *byte == b'/').rev().map(Box::from));
                }
                _ if make => {
                    let number = self.add_inode(folder());
                    at = self.put(at, &part, number)?;
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    fn child(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        self.nodes[parent as usize].children.get(name).copied()
    }

    fn is_folder(&self, node: NodeId) -> bool {
        matches!(self.inodes[self.nodes[node as usize].inode as usize].content, Content::Folder)
    }

    /// A name for a file, in place of what had it.
    fn put(&mut self, parent: NodeId, name: &[u8], inode: u32) -> Result<NodeId, LayerError> {
        if is_reserved(name) {
            return Err(LayerError::Name("reserved for markers (.wh.)"));
        }
        let path_bytes = usize::from(self.nodes[parent as usize].path_bytes) + 1 + name.len();
        if name.len() > PART_BYTES_MAX || path_bytes > PATH_BYTES_MAX {
            return Err(LayerError::Name("longer than 4096 bytes"));
        }
        let (layer, path_bytes) = (self.layer, path_bytes as u16);
        let id = self.nodes.len() as NodeId;
        self.nodes.push(Node { parent, inode, layer, path_bytes, pruned: 0, children: BTreeMap::new() });
        self.nodes[parent as usize].children.insert(name.into(), id);
        Ok(id)
    }

    fn add_inode(&mut self, inode: Inode) -> u32 {
        self.inodes.push(inode);
        (self.inodes.len() - 1) as u32
    }

    /// How many names there were, those that are gone included.
    pub(super) fn names(&self) -> u64 {
        self.nodes.len() as u64
    }

    /// Calls `each` with the path, the number and the contents of everything, folders before what is in them, in
    /// the order of their names' bytes. The root has an empty path.
    pub(super) fn visit<E>(
        &self,
        mut each: impl FnMut(&[u8], u32, &Inode) -> Result<(), E>,
    ) -> Result<(), E> {
        let root = &self.nodes[ROOT as usize];
        each(b"", root.inode, &self.inodes[root.inode as usize])?;
        let mut path: Vec<u8> = Vec::new();
        let mut open = vec![(0, root.children.iter())];
        while let Some((length, children)) = open.last_mut() {
            path.truncate(*length);
            let Some((name, child)) = children.next() else {
                open.pop();
                continue;
            };
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend(&**name);
            let node = &self.nodes[*child as usize];
            each(&path, node.inode, &self.inodes[node.inode as usize])?;
            open.push((path.len(), node.children.iter()));
        }
        Ok(())
    }
}

fn folder() -> Inode {
    Inode {
        content: Content::Folder,
        mode: FOLDER_MODE,
        uid: 0,
        gid: 0,
        mtime: 0,
        attributes: Vec::new(),
        shared: false,
    }
}
