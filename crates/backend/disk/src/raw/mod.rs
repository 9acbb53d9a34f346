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
pub(crate) use self::storage::{Storage, is_unsupported, transfer};
use crate::contract::{Disk, DiskQueue};
use crate::host_file::{self, OpenError, check_block_size};
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
        let host = host_file::open(path, read_only)?;
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
        check_block_size(&self.storage.path, self.storage.size_bytes, block_size_bytes)?;
        Ok(RawDisk { block_size_bytes, ..self })
    }

    /// The same disk with its I/O done in a given way.
    pub fn with_method(self, method: IoMethod) -> RawDisk {
        RawDisk { method, ..self }
    }
}

impl Disk for RawDisk {
    fn size_bytes(&self) -> u64 {
        self.storage.size_bytes
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
