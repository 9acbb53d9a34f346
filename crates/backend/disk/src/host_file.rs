//! Opening what holds a disk: everything that can be wrong with it is found here, before a guest runs.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host_sys::file_lock::{LockKind, try_lock};
use host_sys::named_file::{Accepts, FileKind, NamedFile, open_named, open_named_for_writing};

use crate::contract::SECTOR_SIZE;
use crate::qcow2::FormatError;
use crate::source::SourceFormat;

/// What the host offers as storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file.
    File,
    /// A block device.
    BlockDevice,
}

/// An open and locked file or block device.
#[derive(Clone, Debug)]
pub(crate) struct HostFile {
    pub(crate) file: Arc<File>,
    pub(crate) kind: Kind,
    pub(crate) size_bytes: u64,
    pub(crate) path: PathBuf,
}

/// Why a disk could not be opened. Each says which file it was and, where it helps, what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is nothing at the path.
    #[error("disk {0} does not exist")]
    Missing(PathBuf),
    /// A directory is no disk.
    #[error("disk {0} is a directory, not a disk image or block device")]
    Directory(PathBuf),
    /// A block device is as long as it is.
    #[error("disk {0} is a block device: enlarge it where it was made, and machines see it")]
    FixedLength(PathBuf),
    /// The file may not even be read.
    #[error("disk {0} cannot be opened: permission denied")]
    Permission(PathBuf),
    /// The file may be read, but a writable disk was asked for.
    #[error("disk {0} cannot be written: attach it as readonly, or change its permissions")]
    NotWritable(PathBuf),
    /// Nothing in it.
    #[error("disk {0} is empty: give it a size first, for example with `truncate -s 10G {0}`")]
    Empty(PathBuf),
    /// Not whole sectors.
    #[error(
        "disk {path} is {size_bytes} bytes long, not a multiple of 512: is it a raw image? \
         `truncate -s %512 {path}` fills up its last sector"
    )]
    Misaligned {
        /// The file.
        path: PathBuf,
        /// Its size.
        size_bytes: u64,
    },
    /// Another opening holds a lock.
    #[error("disk {path} is in use by another machine or process{}", in_use_hint(.wanted))]
    InUse {
        /// The file.
        path: PathBuf,
        /// The lock that was wanted.
        wanted: LockKind,
    },
    /// It is not what its format says, or uses something of the format that is not supported.
    #[error("disk {path} cannot be used as qcow2")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// It is not what its format says, or uses something of the format that is not supported.
    #[error("disk {path} cannot be read as {format}")]
    Source {
        /// The file.
        path: PathBuf,
        /// What it was said to be.
        format: SourceFormat,
        /// What is wrong with it.
        source: FormatError,
    },
    /// A block device with a format inside.
    #[error("disk {0} is a block device: only raw disks are kept on one")]
    FormatOnDevice(PathBuf),
    /// The image says which file is behind it, but not how to read that one.
    #[error(
        "disk {path} names the backing file {backing} without saying whether that is raw or qcow2; \
         `yagura disk convert` makes an image without one, `qemu-img rebase -u -F raw|qcow2` states it"
    )]
    BackingFormat {
        /// The file.
        path: PathBuf,
        /// The file behind it.
        backing: String,
    },
    /// Images behind images without an end in sight.
    #[error("disk {path} has more than {limit} backing files behind it, or they lead back to themselves")]
    ChainTooLong {
        /// The first of them.
        path: PathBuf,
        /// Most files of a chain.
        limit: usize,
    },
    /// A file behind an image cannot be opened.
    #[error("backing file of disk {path}")]
    Backing {
        /// The image in front of it.
        path: PathBuf,
        /// What is wrong with the file behind it.
        source: Box<OpenError>,
    },
    /// Anything else.
    #[error("cannot {operation} disk {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

fn in_use_hint(wanted: &LockKind) -> &'static str {
    match wanted {
        LockKind::Exclusive => "; it can be shared only if all attach it as readonly",
        LockKind::Shared => " that writes to it",
    }
}

/// Opens, measures and locks.
pub(crate) fn open(path: &Path, read_only: bool) -> Result<HostFile, OpenError> {
    let failed = |operation| move |source| OpenError::Io { path: path.to_owned(), operation, source };
    let NamedFile { mut file, kind } = open_file(path, read_only)?;
    let kind = if kind == FileKind::BlockDevice { Kind::BlockDevice } else { Kind::File };
    let wanted = if read_only { LockKind::Shared } else { LockKind::Exclusive };
    if !try_lock(&file, wanted).map_err(failed("lock"))? {
        return Err(OpenError::InUse { path: path.to_owned(), wanted });
    }
    let size_bytes = file.seek(SeekFrom::End(0)).map_err(failed("measure"))?;
    Ok(HostFile { file: Arc::new(file), kind, size_bytes, path: path.to_owned() })
}

fn open_file(path: &Path, read_only: bool) -> Result<NamedFile, OpenError> {
    let open = if read_only { open_named } else { open_named_for_writing };
    open(path, Accepts::Disk).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => OpenError::Missing(path.to_owned()),
        io::ErrorKind::IsADirectory => OpenError::Directory(path.to_owned()),
        io::ErrorKind::PermissionDenied if !read_only && open_named(path, Accepts::Disk).is_ok() => {
            OpenError::NotWritable(path.to_owned())
        }
        io::ErrorKind::PermissionDenied => OpenError::Permission(path.to_owned()),
        io::ErrorKind::ReadOnlyFilesystem => OpenError::NotWritable(path.to_owned()),
        _ => OpenError::Io { path: path.to_owned(), operation: "open", source },
    })
}

/// Checks the size of a raw disk.
pub(crate) fn check_raw_size(path: &Path, size_bytes: u64) -> Result<(), OpenError> {
    if size_bytes == 0 {
        return Err(OpenError::Empty(path.to_owned()));
    }
    if !size_bytes.is_multiple_of(SECTOR_SIZE) {
        return Err(OpenError::Misaligned { path: path.to_owned(), size_bytes });
    }
    Ok(())
}
