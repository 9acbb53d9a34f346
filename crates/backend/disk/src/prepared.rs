//! A disk that is given to a machine and can be given on: opened first, taken then, given back in the end.
//!
//! ```text
//!        open                activate: lock, read everything anew
//! path ───────► PreparedDisk ────────────────────────────────────► ActiveDisk ──► Arc<dyn Disk>, for a device
//!                    ▲                                                 │
//!                    └─────────────────────────────────────────────────┘
//!                      release: write back, flush, give the lock back
//! ```
//!
//! While a disk is prepared, another process may write to it: nothing of what it holds is kept. So the target of a
//! migration prepares what the source still has, and reads what the source wrote last.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use image_model::DiskFormat;

use crate::contract::Disk;
use crate::dirty_bitmap::DirtyBitmap;
use crate::error::{OpenError, ReleaseError, ResizeError};
use crate::host_file::{OpenFile, check_block_size, check_raw_size};
use crate::qcow2::{self, BackingPolicy, Header, Qcow2Disk};
use crate::raw::{RawDisk, block_sizes};
use crate::raw_contents::RawContents;

/// How a disk is to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// How it lies in its file.
    pub format: DiskFormat,
    /// It is not written: others may read it, too.
    pub read_only: bool,
    /// What a raw disk may look like.
    pub contents: RawContents,
    /// Size of its blocks in bytes, a power of two; `None` for the device's own, of a file 512.
    pub block_bytes: Option<u32>,
}

/// A disk whose files are open, and that nobody has for that: no lock is held, and nothing is kept of what another may
/// change.
#[derive(Debug)]
pub struct PreparedDisk {
    path: PathBuf,
    options: DiskOptions,
    block_size_bytes: u32,
    /// The disk's own first, then those behind it.
    files: Vec<OpenFile>,
}

/// A disk that this process has for itself, or shares with readers. Dropping it gives it back; only
/// [`release`](ActiveDisk::release) tells whether that went well.
pub struct ActiveDisk {
    // Closed while the lock is held.
    disk: Opened,
    prepared: PreparedDisk,
    /// Whoever makes it longer is alone in that.
    growing: Mutex<()>,
}

impl fmt::Debug for ActiveDisk {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ActiveDisk").field("prepared", &self.prepared).finish_non_exhaustive()
    }
}

enum Opened {
    Raw(Arc<RawDisk>),
    Qcow2(Arc<Qcow2Disk>),
}

/// A step that was not taken: the disk is as it was, and why.
#[derive(Debug)]
pub struct NotDone<D, E> {
    /// The disk.
    pub disk: D,
    /// Why.
    pub source: E,
}

impl PreparedDisk {
    /// Opens the disk at `path`, and checks what can be checked while others may use it.
    ///
    /// # Errors
    /// One [`OpenError`] for each thing that a person can have got wrong, but for a lock that somebody else holds.
    pub fn open(path: &Path, options: DiskOptions) -> Result<PreparedDisk, OpenError> {
        let DiskOptions { format, read_only, contents, block_bytes } = options;
        let (files, size_bytes, own_block_bytes) = match format {
            DiskFormat::Raw => {
                let file = OpenFile::open(path, read_only)?;
                let host = file.look()?;
                contents.check(&host)?;
                check_raw_size(path, host.size_bytes)?;
                (vec![file], host.size_bytes, block_sizes(&host)?.0)
            }
            DiskFormat::Qcow2 => {
                let files = qcow2::prepare(path, read_only, BackingPolicy::Open)?;
                let bad = |source| OpenError::Format { path: path.to_owned(), source };
                let size_bytes = Header::read(&files[0].look()?).map_err(bad)?.size_bytes;
                (files, size_bytes, crate::SECTOR_SIZE as u32)
            }
        };
        let block_size_bytes = block_bytes.unwrap_or(own_block_bytes);
        if block_bytes.is_some() {
            check_block_size(path, size_bytes, block_size_bytes)?;
        }
        Ok(PreparedDisk { path: path.to_owned(), options, block_size_bytes, files })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size of its blocks in bytes, which no other user changes.
    pub fn block_size_bytes(&self) -> u32 {
        self.block_size_bytes
    }

    /// Whether it is opened for reading only.
    pub fn is_read_only(&self) -> bool {
        self.options.read_only
    }

    /// As [`Disk::can_discard`] of the disk, once it is active.
    pub fn can_discard(&self) -> bool {
        !self.options.read_only
    }

    /// As [`Disk::can_write_zeroes`] of the disk, once it is active.
    pub fn can_write_zeroes(&self) -> bool {
        !self.options.read_only
    }

    /// Locks the disk and what is behind it, and reads anew what they say: another may have written since they were
    /// opened, made the disk longer, or put something else behind it.
    ///
    /// # Errors
    /// Somebody else has it, or what is there now cannot be used as it was said. Nothing is locked then.
    pub fn activate(mut self) -> Result<ActiveDisk, Box<NotDone<PreparedDisk, OpenError>>> {
        match self.lock_and_read() {
            Ok(disk) => Ok(ActiveDisk { disk, prepared: self, growing: Mutex::default() }),
            Err(source) => {
                self.unlock();
                Err(Box::new(NotDone { disk: self, source }))
            }
        }
    }

    fn lock_and_read(&mut self) -> Result<Opened, OpenError> {
        let PreparedDisk { path, options, files, .. } = self;
        let DiskOptions { format, read_only, contents, block_bytes } = *options;
        Ok(match format {
            DiskFormat::Raw => {
                let disk = RawDisk::new(files[0].lock()?, read_only, contents)?;
                Opened::Raw(Arc::new(match block_bytes {
                    Some(bytes) => disk.with_block_size(bytes)?,
                    None => disk,
                }))
            }
            DiskFormat::Qcow2 => {
                // Whoever runs the machine names its disks, and may name images with others behind them.
                let image = qcow2::activate(files, path, read_only, BackingPolicy::Open)?;
                let bad = |source| OpenError::Format { path: path.clone(), source };
                let disk = Qcow2Disk::new(image, path).map_err(bad)?;
                Opened::Qcow2(Arc::new(match block_bytes {
                    Some(bytes) => disk.with_block_size(bytes)?,
                    None => disk,
                }))
            }
        })
    }

    fn unlock(&self) {
        self.files.iter().for_each(OpenFile::unlock);
    }
}

impl ActiveDisk {
    /// What a device gets. It has to be gone again before the disk can be released.
    pub fn disk(&self) -> Arc<dyn Disk> {
        match &self.disk {
            Opened::Raw(disk) => Arc::clone(disk) as Arc<dyn Disk>,
            Opened::Qcow2(disk) => Arc::clone(disk) as Arc<dyn Disk>,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.prepared.path()
    }

    /// Which parts of its file are written: that of the disk itself, whatever is behind it.
    pub fn dirty_bitmap(&self) -> &Arc<DirtyBitmap> {
        self.prepared.files[0].dirty()
    }

    /// Length of the disk in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.disk().size_bytes()
    }

    /// Makes the disk `size_bytes` long, while it is used: requests up to there are served when this returns. May wait for
    /// the host's storage. The same length is no error; a block device that was enlarged on the host is followed.
    ///
    /// # Errors
    /// It would become shorter, cannot be longer, or the host refuses; then it is as it was.
    pub fn resize(&self, size_bytes: u64) -> Result<(), ResizeError> {
        let _alone = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let (path, there_bytes) = (self.path().to_owned(), self.size_bytes());
        let block_bytes = self.disk().block_size_bytes();
        if self.prepared.is_read_only() {
            return Err(ResizeError::ReadOnly(path));
        }
        if size_bytes < there_bytes {
            return Err(ResizeError::Shrink { path, there_bytes });
        }
        if !size_bytes.is_multiple_of(u64::from(block_bytes)) {
            return Err(ResizeError::BlockSize { path, size_bytes, block_bytes });
        }
        match &self.disk {
            Opened::Raw(disk) => disk.grow(size_bytes),
            Opened::Qcow2(_) if size_bytes == there_bytes => Ok(()),
            Opened::Qcow2(disk) => disk.grow(size_bytes),
        }
    }

    /// Brings all that was written to stable storage, and gives the lock back: this process can activate the disk again, or
    /// another can.
    ///
    /// # Errors
    /// A device still has it, or the host lost what was written. It stays active then.
    pub fn release(self) -> Result<PreparedDisk, Box<NotDone<ActiveDisk, ReleaseError>>> {
        if let Err(source) = self.finish() {
            return Err(Box::new(NotDone { disk: self, source }));
        }
        let ActiveDisk { disk, prepared, growing: _ } = self;
        // Before anybody else can have the lock.
        drop(disk);
        prepared.unlock();
        Ok(prepared)
    }

    fn finish(&self) -> Result<(), ReleaseError> {
        let (path, is_alone) = (
            self.path().to_owned(),
            match &self.disk {
                Opened::Raw(disk) => Arc::strong_count(disk) == 1 && disk.is_idle(),
                Opened::Qcow2(disk) => Arc::strong_count(disk) == 1 && disk.is_idle(),
            },
        );
        if !is_alone {
            return Err(ReleaseError::StillUsed(path));
        }
        let flushed = match &self.disk {
            Opened::Raw(disk) => disk.flush(),
            Opened::Qcow2(disk) => disk.finish(),
        };
        flushed.map_err(|source| ReleaseError::Flush { path, source })
    }
}

#[cfg(test)]
mod tests;
