//! Opening a raw disk: everything that can be wrong with it is found here, before a guest runs.

use std::fs::{self, File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host_sys::block_device::logical_block_size;
use host_sys::file_lock::{LockKind, try_lock};

use super::storage::{Kind, Storage};
use crate::contract::SECTOR_SIZE;

/// Why a raw disk could not be opened. Each says which file it was and, where it helps, what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is nothing at the path.
    #[error("disk {0} does not exist")]
    Missing(PathBuf),
    /// A directory is no disk.
    #[error("disk {0} is a directory, not a disk image or block device")]
    Directory(PathBuf),
    /// Neither a regular file nor a block device.
    #[error("disk {0} is neither a file nor a block device")]
    NotADisk(PathBuf),
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
pub(super) fn open(path: &Path, read_only: bool) -> Result<Storage, OpenError> {
    let failed = |operation| move |source| OpenError::Io { path: path.to_owned(), operation, source };
    // Looked at before it is opened: opening a pipe would wait for its other end.
    let metadata = fs::metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => OpenError::Missing(path.to_owned()),
        io::ErrorKind::PermissionDenied => OpenError::Permission(path.to_owned()),
        _ => failed("look at")(source),
    })?;
    kind_of(path, &metadata)?;
    let mut file = open_file(path, read_only)?;
    // Another file may have taken the path meanwhile: from here on only what was opened counts.
    let metadata = file.metadata().map_err(failed("look at"))?;
    let kind = kind_of(path, &metadata)?;
    let wanted = if read_only { LockKind::Shared } else { LockKind::Exclusive };
    if !try_lock(&file, wanted).map_err(failed("lock"))? {
        return Err(OpenError::InUse { path: path.to_owned(), wanted });
    }
    let size_bytes = file.seek(SeekFrom::End(0)).map_err(failed("measure"))?;
    check_size(path, size_bytes)?;
    let block_size_bytes = match kind {
        Kind::File => SECTOR_SIZE as u32,
        Kind::BlockDevice => logical_block_size(&file).map_err(failed("measure"))?,
    };
    Ok(Storage { file: Arc::new(file), kind, size_bytes, block_size_bytes, path: path.to_owned() })
}

fn open_file(path: &Path, read_only: bool) -> Result<File, OpenError> {
    File::options().read(true).write(!read_only).open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => OpenError::Missing(path.to_owned()),
        io::ErrorKind::PermissionDenied if !read_only && File::open(path).is_ok() => {
            OpenError::NotWritable(path.to_owned())
        }
        io::ErrorKind::PermissionDenied => OpenError::Permission(path.to_owned()),
        io::ErrorKind::ReadOnlyFilesystem => OpenError::NotWritable(path.to_owned()),
        _ => OpenError::Io { path: path.to_owned(), operation: "open", source },
    })
}

fn kind_of(path: &Path, metadata: &Metadata) -> Result<Kind, OpenError> {
    let kind = metadata.file_type();
    if kind.is_file() {
        Ok(Kind::File)
    } else if kind.is_block_device() {
        Ok(Kind::BlockDevice)
    } else if kind.is_dir() {
        Err(OpenError::Directory(path.to_owned()))
    } else {
        Err(OpenError::NotADisk(path.to_owned()))
    }
}

fn check_size(path: &Path, size_bytes: u64) -> Result<(), OpenError> {
    if size_bytes == 0 {
        return Err(OpenError::Empty(path.to_owned()));
    }
    if !size_bytes.is_multiple_of(SECTOR_SIZE) {
        return Err(OpenError::Misaligned { path: path.to_owned(), size_bytes });
    }
    Ok(())
}
