//! Disks, their queues, and requests.

use std::io;
use std::os::fd::BorrowedFd;

use guest_memory::IoBuffers;

use crate::trouble::Trouble;

/// The unit in which disks are measured and addressed, in bytes.
pub const SECTOR_SIZE: u64 = 512;

/// A disk, shared by the queues that serve it.
pub trait Disk: Send + Sync {
    /// Capacity in bytes, a multiple of [`SECTOR_SIZE`]. It can grow while the disk is used; requests up to what was told
    /// once are good for ever.
    fn size_bytes(&self) -> u64;

    /// Blocks of the disk as its user is to see it, in bytes: a power of two from [`SECTOR_SIZE`] upwards, of which
    /// the disk's size is a multiple. Requests that are multiples of [`SECTOR_SIZE`] only are served all the same.
    fn block_size_bytes(&self) -> u32;

    /// What the host moves at least, in bytes: a power of two from [`block_size_bytes`](Disk::block_size_bytes) upwards.
    /// Smaller writes make it read first.
    fn physical_block_size_bytes(&self) -> u32 {
        self.block_size_bytes()
    }

    /// Whether writes are refused.
    fn is_read_only(&self) -> bool;

    /// Whether [`DiskOperation::Discard`] may free room on the host.
    fn can_discard(&self) -> bool;

    /// Whether [`DiskOperation::WriteZeroes`] is taken.
    fn can_write_zeroes(&self) -> bool;

    /// What has befallen it that no request shows, such as the removal of its file. Cheap: asked after each flush.
    fn trouble(&self) -> Option<Trouble> {
        None
    }

    /// A queue of its own for one user.
    ///
    /// # Errors
    /// The host has no thread, descriptor or memory left.
    fn open_queue(&self) -> io::Result<Box<dyn DiskQueue>>;
}

/// Serves requests in parallel and completes them in any order. A request that has to come after another is
/// submitted when that one has completed.
pub trait DiskQueue: Send {
    /// Takes a request. It is served once [`commit`](DiskQueue::commit) was called, or earlier. A request
    /// that cannot be served completes with an error.
    fn submit(&mut self, request: DiskRequest);

    /// Starts everything submitted.
    fn commit(&mut self);

    /// Readable when [`completions`](DiskQueue::completions) has something to tell. The same descriptor for
    /// the queue's life.
    fn completion_event(&self) -> BorrowedFd<'_>;

    /// Moves what has completed to `out`, without waiting, and clears the event.
    fn completions(&mut self, out: &mut Vec<DiskCompletion>);

    /// Waits until everything submitted has completed, and moves the completions to `out`.
    fn drain(&mut self, out: &mut Vec<DiskCompletion>);
}

/// What to do with a range of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskOperation {
    /// Fill the buffers from the disk.
    Read,
    /// Write the buffers to the disk.
    Write,
    /// Bring everything whose write has completed to stable storage. Concerns the whole disk.
    Flush,
    /// The contents are not needed any more; what is read afterwards is unspecified. Never fails for want of
    /// support.
    Discard,
    /// Make the range read as zeros.
    WriteZeroes {
        /// Room on the host may be given back.
        may_unmap: bool,
    },
}

impl DiskOperation {
    /// Whether the operation changes the disk.
    pub fn is_write(self) -> bool {
        !matches!(self, DiskOperation::Read | DiskOperation::Flush)
    }
}

/// One request to a [`DiskQueue`].
#[derive(Debug)]
pub struct DiskRequest {
    /// Comes back with the completion.
    pub id: u64,
    /// What to do.
    pub operation: DiskOperation,
    /// First byte on the disk.
    pub offset_bytes: u64,
    /// Length of the range in bytes.
    pub length_bytes: u64,
    /// Memory for reads and writes, `length_bytes` long; empty otherwise.
    pub buffers: IoBuffers,
    /// The request completes only when its change is on stable storage.
    pub durable: bool,
}

impl DiskRequest {
    /// A flush.
    pub fn flush(id: u64) -> DiskRequest {
        DiskRequest {
            id,
            operation: DiskOperation::Flush,
            offset_bytes: 0,
            length_bytes: 0,
            buffers: IoBuffers::empty(),
            durable: false,
        }
    }

    /// Checks that the range lies in a disk of `size_bytes` and the buffers cover it.
    ///
    /// # Errors
    /// `InvalidInput`: an error of the caller's, which must not reach the host's file.
    pub fn check(&self, size_bytes: u64) -> io::Result<()> {
        let end_bytes = self.offset_bytes.checked_add(self.length_bytes);
        if end_bytes.is_none_or(|end_bytes| end_bytes > size_bytes) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "request beyond the end of the disk"));
        }
        let expected_bytes = match self.operation {
            DiskOperation::Read | DiskOperation::Write => self.length_bytes,
            DiskOperation::Flush | DiskOperation::Discard | DiskOperation::WriteZeroes { .. } => 0,
        };
        if self.buffers.len_bytes() as u64 != expected_bytes {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "buffers do not match the request"));
        }
        Ok(())
    }
}

/// What became of a request.
#[derive(Debug)]
pub struct DiskCompletion {
    /// The request's.
    pub id: u64,
    /// Success means all of it: nothing is cut short.
    pub result: io::Result<()>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_checked_against_the_disk_and_their_buffers() {
        let request = |offset_bytes, length_bytes, buffer| DiskRequest {
            operation: DiskOperation::Read,
            offset_bytes,
            length_bytes,
            buffers: IoBuffers::from_vec(vec![0; buffer]),
            ..DiskRequest::flush(0)
        };
        assert!(request(512, 512, 512).check(1024).is_ok());
        assert!(request(1024, 0, 0).check(1024).is_ok());
        assert!(request(513, 512, 512).check(1024).is_err());
        assert!(request(u64::MAX, 1, 1).check(1024).is_err());
        assert!(request(0, 512, 511).check(1024).is_err());
        assert!(DiskRequest::flush(0).check(0).is_ok());
        assert!(!DiskOperation::Flush.is_write() && DiskOperation::Discard.is_write());
    }
}
