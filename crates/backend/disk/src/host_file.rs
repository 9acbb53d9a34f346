//! What holds a disk on the host, in two steps: open, when others may still be at it, and locked, when nobody else is.
//! Everything that can be wrong with it is found here, before a guest runs.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host_sys::file_lock::{LockKind, try_lock, unlock};
use host_sys::named_file::{Accepts, FileKind, NamedFile, open_named, open_named_for_writing};
use rustix::fs::fstat;

use crate::contract::SECTOR_SIZE;
use crate::dirty_bitmap::DirtyBitmap;
use crate::error::OpenError;

/// What the host offers as storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file.
    File,
    /// A block device.
    BlockDevice,
}

/// A file or block device that is open and not locked: another process may change it.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: Arc<File>,
    kind: Kind,
    path: PathBuf,
    read_only: bool,
    dirty: Arc<DirtyBitmap>,
}

/// An open file or block device, and how long it was. Locked, unless it was only [looked at](OpenFile::look).
#[derive(Clone, Debug)]
pub struct HostFile {
    pub(crate) file: Arc<File>,
    pub(crate) kind: Kind,
    pub(crate) size_bytes: u64,
    pub(crate) path: PathBuf,
    /// One for all who write to the file by this value and its copies.
    pub(crate) dirty: Arc<DirtyBitmap>,
}

impl HostFile {
    /// A regular file that somebody else has opened, which messages call `name`; it is not locked.
    ///
    /// # Errors
    /// It cannot be measured.
    pub fn of_file(file: File, name: &Path) -> io::Result<HostFile> {
        let size_bytes = measure(&file)?;
        Ok(HostFile::regular(Arc::new(file), size_bytes, name))
    }

    pub(crate) fn regular(file: Arc<File>, size_bytes: u64, path: &Path) -> HostFile {
        HostFile { file, kind: Kind::File, size_bytes, path: path.to_owned(), dirty: Arc::default() }
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// What messages call it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How long it was when it was opened, in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

impl OpenFile {
    /// Opens what is at `path`.
    pub(crate) fn open(path: &Path, read_only: bool) -> Result<OpenFile, OpenError> {
        let NamedFile { file, kind } = open_file(path, read_only)?;
        let kind = if kind == FileKind::BlockDevice { Kind::BlockDevice } else { Kind::File };
        Ok(OpenFile { file: Arc::new(file), kind, path: path.to_owned(), read_only, dirty: Arc::default() })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Which parts of it are written.
    pub(crate) fn dirty(&self) -> &Arc<DirtyBitmap> {
        &self.dirty
    }

    /// Whether it was opened for reading only.
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The file as it is now, for checks that anybody else may make untrue.
    pub(crate) fn look(&self) -> Result<HostFile, OpenError> {
        let size_bytes = measure(&self.file).map_err(self.failed("measure"))?;
        let OpenFile { file, kind, path, read_only: _, dirty } = self;
        let (file, dirty) = (Arc::clone(file), Arc::clone(dirty));
        Ok(HostFile { file, kind: *kind, size_bytes, path: path.clone(), dirty })
    }

    /// Locks it, and measures it then: for one writer, or for any number of readers.
    pub(crate) fn lock(&self) -> Result<HostFile, OpenError> {
        let wanted = if self.read_only { LockKind::Shared } else { LockKind::Exclusive };
        if !try_lock(&self.file, wanted).map_err(self.failed("lock"))? {
            return Err(OpenError::InUse { path: self.path.clone(), wanted });
        }
        self.check_place().and_then(|()| self.look()).inspect_err(|_| self.unlock())
    }

    /// Gives the lock back, if it is held.
    pub(crate) fn unlock(&self) {
        if let Err(error) = unlock(&self.file) {
            // It goes with the descriptor at the latest.
            tracing::error!(disk = %self.path.display(), %error, "a disk's lock could not be given back");
        }
    }

    /// Whether the path still leads to the file that was opened: who takes another file's place takes its lock, too.
    fn check_place(&self) -> Result<(), OpenError> {
        let moved = || Err(OpenError::Moved(self.path.clone()));
        let own = self.file.metadata().map_err(self.failed("look at"))?;
        match fs::metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) == (own.dev(), own.ino()) => Ok(()),
            Ok(_) => moved(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => moved(),
            // A process that was confined since cannot look; that it has the file open is enough.
            Err(_) => Ok(()),
        }
    }

    fn failed(&self, operation: &'static str) -> impl Fn(io::Error) -> OpenError {
        move |source| OpenError::Io { path: self.path.clone(), operation, source }
    }
}

/// Opens, locks and measures.
pub(crate) fn open(path: &Path, read_only: bool) -> Result<HostFile, OpenError> {
    OpenFile::open(path, read_only)?.lock()
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

/// Checks that a disk consists of whole blocks.
pub(crate) fn check_block_size(path: &Path, size_bytes: u64, block_bytes: u32) -> Result<(), OpenError> {
    if size_bytes.is_multiple_of(u64::from(block_bytes)) {
        Ok(())
    } else {
        Err(OpenError::BlockSize { path: path.to_owned(), size_bytes, block_bytes })
    }
}

/// Length of a file or block device; the position in it, which others may share, is moved on devices only.
pub(crate) fn measure(file: &File) -> io::Result<u64> {
    match fstat(file)?.st_size {
        0 => (&*file).seek(SeekFrom::End(0)),
        length => Ok(length as u64),
    }
}
