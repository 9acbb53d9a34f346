//! Raw disks: each byte of the guest's disk is the byte of the host's file at the same offset.
//!
//! ```text
//! RawDisk ─open_queue─► RingQueue ─────────► io_uring
//!                │          └─what a ring cannot do─┐
//!                └───────► ThreadQueue ─► Storage::perform (system calls that block)
//! ```

mod ring_queue;
mod storage;

use std::io;
use std::path::Path;
use std::sync::Arc;

use tracing::info;

pub(crate) use self::ring_queue::RingQueue;
pub(crate) use self::storage::{Storage, block_sizes};
use crate::contract::{Disk, DiskQueue};
use crate::error::{OpenError, ResizeError};
use crate::host_file::{self, HostFile, Kind, check_block_size, measure};
use crate::raw_contents::RawContents;
use crate::thread_queue::ThreadQueue;
use crate::trouble::Trouble;

/// Threads of a queue without io_uring.
const THREADS_PER_QUEUE: usize = 2;

/// How a raw disk's requests reach the host kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoMethod {
    /// io_uring, or threads where it is refused.
    #[default]
    Auto,
    /// io_uring or failure.
    Ring,
    /// Threads that block in system calls.
    Threads,
}

/// A raw file or block device of the host, locked while it is open: one writer or any number of readers.
#[derive(Debug)]
pub struct RawDisk {
    storage: Arc<Storage>,
    read_only: bool,
    method: IoMethod,
    block_size_bytes: u32,
}

impl RawDisk {
    /// Opens and locks the file or block device at `path`. Its blocks are the device's, for a file sectors of 512 bytes.
    ///
    /// # Errors
    /// One [`OpenError`] for each thing that a person can have got wrong.
    pub fn open(path: &Path, read_only: bool, contents: RawContents) -> Result<RawDisk, OpenError> {
        RawDisk::new(host_file::open(path, read_only)?, read_only, contents)
    }

    /// The disk in a file that is open and locked.
    pub(crate) fn new(host: HostFile, read_only: bool, contents: RawContents) -> Result<RawDisk, OpenError> {
        contents.check(&host)?;
        let storage = Arc::new(Storage::new(host)?);
        let block_size_bytes = storage.block_size_bytes;
        Ok(RawDisk { storage, read_only, method: IoMethod::default(), block_size_bytes })
    }

    /// The same disk with blocks of another size, a power of two. A device's own may be larger: the host's page cache is
    /// in between, which reads and writes all of them.
    ///
    /// # Errors
    /// The disk does not consist of whole blocks.
    pub fn with_block_size(self, block_size_bytes: u32) -> Result<RawDisk, OpenError> {
        check_block_size(&self.storage.path, self.storage.size_bytes(), block_size_bytes)?;
        Ok(RawDisk { block_size_bytes, ..self })
    }

    /// The same disk with its I/O done in a given way.
    pub fn with_method(self, method: IoMethod) -> RawDisk {
        RawDisk { method, ..self }
    }

    /// Makes it `size_bytes` long, whole blocks and not less than it is. Requests up to there are served when this
    /// returns. A block device is followed to the length that it has.
    pub(crate) fn grow(&self, size_bytes: u64) -> Result<(), ResizeError> {
        let Storage { file, kind, path, .. } = &*self.storage;
        let refused = |source| ResizeError::host(path, source);
        let there_bytes = measure(file).map_err(refused)?;
        match kind {
            Kind::BlockDevice if there_bytes != size_bytes => {
                return Err(ResizeError::Device { path: path.clone(), there_bytes });
            }
            // Somebody else has made the file longer: what he has put there is not cut off.
            Kind::File if there_bytes > size_bytes => {
                return Err(ResizeError::Shrink { path: path.clone(), there_bytes });
            }
            Kind::File if there_bytes < size_bytes => file.set_len(size_bytes).map_err(refused)?,
            _ => {}
        }
        self.storage.grow_to(size_bytes);
        Ok(())
    }

    /// Whether no queue is open.
    pub(crate) fn is_idle(&self) -> bool {
        Arc::strong_count(&self.storage) == 1
    }

    /// Brings what was written to stable storage.
    pub(crate) fn flush(&self) -> io::Result<()> {
        if self.read_only { Ok(()) } else { self.storage.file.sync_data() }
    }
}

impl Disk for RawDisk {
    fn size_bytes(&self) -> u64 {
        self.storage.size_bytes()
    }

    fn block_size_bytes(&self) -> u32 {
        self.block_size_bytes
    }

    fn physical_block_size_bytes(&self) -> u32 {
        self.storage.physical_block_bytes.max(self.block_size_bytes)
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn can_discard(&self) -> bool {
        !self.read_only
    }

    fn can_write_zeroes(&self) -> bool {
        !self.read_only
    }

    fn trouble(&self) -> Option<Trouble> {
        self.storage.trouble()
    }

    fn open_queue(&self) -> io::Result<Box<dyn DiskQueue>> {
        if self.method != IoMethod::Threads {
            match RingQueue::new(Arc::clone(&self.storage)) {
                Ok(queue) => return Ok(Box::new(queue)),
                Err(error) if self.method == IoMethod::Ring => return Err(error),
                Err(error) => {
                    let path = self.storage.path.display();
                    info!(disk = %path, %error, "io_uring is refused, using threads");
                }
            }
        }
        Ok(Box::new(ThreadQueue::new(Arc::clone(&self.storage) as Arc<_>, THREADS_PER_QUEUE)?))
    }
}

#[cfg(test)]
mod tests;
