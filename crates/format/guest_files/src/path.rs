//! Paths, followed through file systems that know their files by inode: one resolver for all of them.

use std::io::Write;

use crate::{DirEntry, FileKind, FileSystem, FsError, FsKind, Metadata};

/// What Linux follows for one path (`path_resolution(7)`).
const LINK_LIMIT: u32 = 40;
/// Names that one path may lead through, links included.
const COMPONENT_LIMIT: u32 = 4096;
/// How long a path, and a link's target, may be (`PATH_MAX`).
pub(crate) const PATH_LIMIT_BYTES: usize = 4096;

/// What a person is told of a file system.
pub(crate) struct About {
    pub(crate) kind: FsKind,
    pub(crate) label: String,
    pub(crate) uuid: Option<String>,
    pub(crate) notes: Vec<String>,
}

/// Takes an entry of a directory; an error ends the listing.
pub(crate) type EachEntry<'a> = dyn FnMut(&[u8], FileKind) -> Result<(), FsError> + 'a;

/// A file system that knows its files by inode.
pub(crate) trait Inodes {
    /// What names a file: an inode's number, or what stands for it.
    type Id: Clone;

    fn about(&self) -> &About;

    fn root(&self) -> Self::Id;

    /// The file of that name in a directory. `name` is neither empty, `.`, nor `..`.
    fn lookup(&self, directory: &Self::Id, name: &[u8]) -> Result<Option<Self::Id>, FsError>;

    fn metadata_of(&self, id: &Self::Id) -> Result<Metadata, FsError>;

    /// A symbolic link's target, at most [`PATH_LIMIT_BYTES`] long.
    fn read_link(&self, id: &Self::Id) -> Result<Vec<u8>, FsError>;

    /// Calls `each` for the entries of a directory; `.` and `..` may be among them.
    fn entries(&self, directory: &Self::Id, each: &mut EachEntry<'_>) -> Result<(), FsError>;

    /// Writes exactly `len_bytes` from `offset_bytes` on; the file is regular and has them.
    fn read(
        &self,
        id: &Self::Id,
        offset_bytes: u64,
        len_bytes: u64,
        out: &mut dyn Write,
    ) -> Result<(), FsError>;

    /// See [`FileSystem::subvolume`].
    fn open_subvolume(&self, _path: &str) -> Result<Option<Box<dyn FileSystem>>, FsError> {
        Ok(None)
    }

    /// See [`FileSystem::subvolume_path`].
    fn path_of_subvolume(&self) -> &str {
        ""
    }
}

impl<F: Inodes> FileSystem for F {
    fn kind(&self) -> FsKind {
        self.about().kind
    }

    fn label(&self) -> &str {
        &self.about().label
    }

    fn uuid(&self) -> Option<&str> {
        self.about().uuid.as_deref()
    }

    fn notes(&self) -> &[String] {
        &self.about().notes
    }

    fn metadata(&self, path: &str) -> Result<Metadata, FsError> {
        self.metadata_of(&resolve(self, path.as_bytes())?)
    }

    fn read_range(
        &self,
        path: &str,
        offset_bytes: u64,
        len_bytes: u64,
        out: &mut dyn Write,
    ) -> Result<u64, FsError> {
        let id = resolve(self, path.as_bytes())?;
        let Metadata { kind, size_bytes } = self.metadata_of(&id)?;
        if kind != FileKind::Regular {
            return Err(FsError::NotAFile);
        }
        let len_bytes = len_bytes.min(size_bytes.saturating_sub(offset_bytes));
        if len_bytes > 0 {
            self.read(&id, offset_bytes, len_bytes, out)?;
        }
        Ok(len_bytes)
    }

    fn list(&self, path: &str, limit: usize) -> Result<Vec<DirEntry>, FsError> {
        let id = resolve(self, path.as_bytes())?;
        if self.metadata_of(&id)?.kind != FileKind::Directory {
            return Err(FsError::NotADirectory);
        }
        let mut list = Vec::new();
        self.entries(&id, &mut |name, kind| {
            if matches!(name, b"." | b"..") {
                return Ok(());
            }
            if list.len() == limit {
                return Err(FsError::TooManyEntries(limit));
            }
            if let Ok(name) = std::str::from_utf8(name) {
                list.push(DirEntry { name: name.to_owned(), kind });
            }
            Ok(())
        })?;
        Ok(list)
    }

    fn subvolume(&self, path: &str) -> Result<Option<Box<dyn FileSystem>>, FsError> {
        self.open_subvolume(path)
    }

    fn subvolume_path(&self) -> &str {
        self.path_of_subvolume()
    }
}

/// Follows a path from the root, links included. `..` goes no further than the root.
pub(crate) fn resolve<F: Inodes>(fs: &F, path: &[u8]) -> Result<F::Id, FsError> {
    let mut above: Vec<F::Id> = Vec::new();
    let mut here = fs.root();
    // Names still to be followed, the next one last.
    let mut names: Vec<Vec<u8>> = Vec::new();
    push_names(&mut names, path)?;
    let (mut links, mut components) = (0, 0);
    while let Some(name) = names.pop() {
        components += 1;
        if components > COMPONENT_LIMIT {
            return Err(FsError::TooManyLinks);
        }
        if fs.metadata_of(&here)?.kind != FileKind::Directory {
            return Err(FsError::NotADirectory);
        }
        if name == b".." {
            here = above.pop().unwrap_or_else(|| fs.root());
            continue;
        }
        let found = fs.lookup(&here, &name)?.ok_or(FsError::NotFound)?;
        if fs.metadata_of(&found)?.kind != FileKind::Symlink {
            above.push(std::mem::replace(&mut here, found));
            continue;
        }
        links += 1;
        if links > LINK_LIMIT {
            return Err(FsError::TooManyLinks);
        }
        let target = fs.read_link(&found)?;
        if target.first() == Some(&b'/') {
            above.clear();
            here = fs.root();
        }
        push_names(&mut names, &target)?;
    }
    Ok(here)
}

fn push_names(names: &mut Vec<Vec<u8>>, path: &[u8]) -> Result<(), FsError> {
    if path.len() > PATH_LIMIT_BYTES {
        return Err(FsError::NotFound);
    }
    let parts = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    names.extend(parts.rev().map(<[u8]>::to_vec));
    Ok(())
}

/// Writes `len_bytes` zeros.
pub(crate) fn write_zeros(mut len_bytes: u64, out: &mut dyn Write) -> Result<(), FsError> {
    let zeros = [0; 16 << 10];
    while len_bytes > 0 {
        let part = len_bytes.min(zeros.len() as u64);
        out.write_all(&zeros[..part as usize]).map_err(FsError::Write)?;
        len_bytes -= part;
    }
    Ok(())
}

/// Writes `len_bytes` of `device` from `at` on, through a buffer of bounded size.
pub(crate) fn write_from(
    device: &dyn crate::ReadAt,
    mut at: u64,
    mut len_bytes: u64,
    out: &mut dyn Write,
) -> Result<(), FsError> {
    const BUFFER_BYTES: u64 = 256 << 10;
    if at.checked_add(len_bytes).is_none_or(|end| end > device.len_bytes()) {
        return Err(FsError::Damaged("a file's data lies beyond the end of the disk"));
    }
    let mut buffer = vec![0; len_bytes.min(BUFFER_BYTES) as usize];
    while len_bytes > 0 {
        let part = len_bytes.min(BUFFER_BYTES);
        let buffer = &mut buffer[..part as usize];
        device.read_at(at, buffer)?;
        out.write_all(buffer).map_err(FsError::Write)?;
        at += part;
        len_bytes -= part;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every directory holds the same: `a` and `b` lead to directories, and links by their targets.
    struct Endless(About);

    impl Endless {
        fn new() -> Endless {
            Endless(About { kind: FsKind::Xfs, label: String::new(), uuid: None, notes: Vec::new() })
        }
    }

    impl Inodes for Endless {
        type Id = String;

        fn about(&self) -> &About {
            &self.0
        }

        fn root(&self) -> String {
            "/".to_owned()
        }

        fn lookup(&self, directory: &String, name: &[u8]) -> Result<Option<String>, FsError> {
            let name = str::from_utf8(name).unwrap();
            Ok((name != "nothing").then(|| format!("{directory}{name}/")))
        }

        fn metadata_of(&self, id: &String) -> Result<Metadata, FsError> {
            let kind = match id.rsplit('/').nth(1) {
                Some("circle" | "absolute" | "up" | "long") => FileKind::Symlink,
                Some("file") => FileKind::Regular,
                _ => FileKind::Directory,
            };
            Ok(Metadata { kind, size_bytes: 0 })
        }

        fn read_link(&self, id: &String) -> Result<Vec<u8>, FsError> {
            Ok(match id.rsplit('/').nth(1) {
                Some("circle") => b"circle".to_vec(),
                Some("absolute") => b"/b".to_vec(),
                Some("long") => vec![b'/'; PATH_LIMIT_BYTES + 1],
                _ => b"../b".to_vec(),
            })
        }

        fn entries(&self, _: &String, each: &mut EachEntry<'_>) -> Result<(), FsError> {
            loop {
                each(b"again", FileKind::Regular)?;
            }
        }

        fn read(&self, _: &String, _: u64, len_bytes: u64, out: &mut dyn Write) -> Result<(), FsError> {
            write_zeros(len_bytes, out)
        }
    }

    #[test]
    fn paths_stay_inside_and_come_to_an_end() {
        let fs = Endless::new();
        let follow = |path: &str| resolve(&fs, path.as_bytes());
        assert_eq!(follow("a//./b/").unwrap(), "/a/b/");
        assert_eq!(follow("a/../../../b").unwrap(), "/b/");
        assert_eq!(follow("a/absolute/a").unwrap(), "/b/a/");
        assert_eq!(follow("a/a/up/a").unwrap(), "/a/b/a/");
        assert!(matches!(follow("a/circle"), Err(FsError::TooManyLinks)));
        assert!(matches!(follow("a/long"), Err(FsError::NotFound)));
        assert!(matches!(follow("a/nothing"), Err(FsError::NotFound)));
        assert!(matches!(follow("file/a"), Err(FsError::NotADirectory)));
        assert!(matches!(follow("file/.."), Err(FsError::NotADirectory)));
        assert!(matches!(fs.list("/", 1000), Err(FsError::TooManyEntries(1000))));
    }
}
