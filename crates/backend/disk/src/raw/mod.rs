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
use crate::host_file::{self, OpenError};
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
}

impl RawDisk {
    /// Opens and locks the file or block device at `path`.
    ///
    /// # Errors
    /// One [`OpenError`] for each thing that a person can have got wrong.
    pub fn open(path: &Path, read_only: bool) -> Result<RawDisk, OpenError> {
        let storage = Arc::new(Storage::new(host_file::open(path, read_only)?)?);
        Ok(RawDisk { storage, read_only, method: IoMethod::default() })
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
        self.storage.block_size_bytes
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
