//! What all file systems offer, and which one it is.

use std::fmt;
use std::io::Write;
use std::rc::Rc;

use crate::content::{Content, identify};
use crate::{FsError, ReadAt};

/// The file systems that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FsKind {
    /// ext2, ext3, ext4.
    Ext4,
    /// FAT12, FAT16, FAT32 with long names.
    Vfat,
    /// XFS, versions 4 and 5.
    Xfs,
    /// Btrfs on one device.
    Btrfs,
}

impl fmt::Display for FsKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FsKind::Ext4 => "ext4",
            FsKind::Vfat => "vfat",
            FsKind::Xfs => "xfs",
            FsKind::Btrfs => "btrfs",
        })
    }
}

/// What stands under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A file with bytes.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link; only listings show them.
    Symlink,
    /// A device node, a socket, a pipe.
    Special,
}

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: FileKind,
    /// How many bytes it has.
    pub size_bytes: u64,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name.
    pub name: String,
    /// What it is; a symbolic link is not followed.
    pub kind: FileKind,
}

/// A file system, read only. Paths begin at its root, with or without a slash. Symbolic links are followed, also
/// the last one, and never lead out of it.
pub trait FileSystem {
    /// Which one it is.
    fn kind(&self) -> FsKind;

    /// Its label; empty where it has none.
    fn label(&self) -> &str;

    /// Its UUID, as `root=UUID=` names it.
    fn uuid(&self) -> Option<&str>;

    /// What a person should know of its state: a journal that was not replayed.
    fn notes(&self) -> &[String];

    /// What stands under a path.
    ///
    /// # Errors
    ///
    /// [`FsError::NotFound`], and what damage leads to.
    fn metadata(&self, path: &str) -> Result<Metadata, FsError>;

    /// Writes bytes of a regular file to `out`, from `offset_bytes` on, `len_bytes` or as many as there are; holes
    /// as zeros. Says how many.
    ///
    /// # Errors
    ///
    /// [`FsError::NotFound`], [`FsError::NotAFile`], what damage leads to, and what `out` says.
    fn read_range(
        &self,
        path: &str,
        offset_bytes: u64,
        len_bytes: u64,
        out: &mut dyn Write,
    ) -> Result<u64, FsError>;

    /// The entries of a directory but for `.` and `..`, in no order. Names that are not UTF-8 are left out.
    ///
    /// # Errors
    ///
    /// [`FsError::TooManyEntries`] when there are more than `limit`; [`FsError::NotFound`],
    /// [`FsError::NotADirectory`], and what damage leads to.
    fn list(&self, path: &str, limit: usize) -> Result<Vec<DirEntry>, FsError>;

    /// The same file system seen from another root: btrfs's subvolume at `path` below its uppermost one, `""` being
    /// that one. Nothing where there are no such roots.
    ///
    /// # Errors
    ///
    /// [`FsError::NotFound`], and what damage leads to.
    fn subvolume(&self, path: &str) -> Result<Option<Box<dyn FileSystem>>, FsError> {
        let _ = path;
        Ok(None)
    }

    /// Where this root stands below the uppermost one, without a slash in front: btrfs's subvolumes.
    fn subvolume_path(&self) -> &str {
        ""
    }
}

/// Writes a whole file to `out` and says how many bytes that were.
///
/// # Errors
///
/// [`FsError::TooLarge`] before anything is written, and those of [`FileSystem::read_range`].
pub fn copy_file(
    fs: &dyn FileSystem,
    path: &str,
    limit_bytes: u64,
    out: &mut dyn Write,
) -> Result<u64, FsError> {
    let size_bytes = fs.metadata(path)?.size_bytes;
    if size_bytes > limit_bytes {
        return Err(FsError::TooLarge { size_bytes, limit_bytes });
    }
    fs.read_range(path, 0, size_bytes, out)
}

/// A small file's bytes.
///
/// # Errors
///
/// Those of [`copy_file`].
pub fn read_small(fs: &dyn FileSystem, path: &str, limit_bytes: u64) -> Result<Vec<u8>, FsError> {
    let mut bytes = Vec::new();
    copy_file(fs, path, limit_bytes, &mut bytes)?;
    Ok(bytes)
}

/// Opens the file system that fills `device`; nothing when it holds none that is read here.
///
/// # Errors
///
/// When it says that it is one of those, and cannot be opened.
pub fn open_file_system(device: Rc<dyn ReadAt>) -> Result<Option<Box<dyn FileSystem>>, FsError> {
    let Content::FileSystem(kind) = identify(&*device)? else { return Ok(None) };
    Ok(Some(match kind {
        FsKind::Ext4 => Box::new(crate::ext4::Ext4::open(&device)?),
        FsKind::Vfat => Box::new(crate::vfat::Vfat::open(device)?),
        FsKind::Xfs => Box::new(crate::xfs::Xfs::open(device)?),
        FsKind::Btrfs => Box::new(crate::btrfs::Btrfs::open(device)?),
    }))
}
