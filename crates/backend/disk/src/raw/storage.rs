//! The host's side of a raw disk, and requests served with system calls that block.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use guest_memory::IoBuffers;
use host_sys::block_device::{self, logical_block_size};
use host_sys::io_buffers::{readv_at, writev_at};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::contract::{DiskOperation, DiskRequest, SECTOR_SIZE};
use crate::host_file::{HostFile, Kind, OpenError, check_raw_size};
use crate::thread_queue::Serve;
use crate::trouble::{FileHealth, Trouble, ended_early, sync_failed};

/// Zeros written at once where the file system has no better way, in bytes.
const ZERO_CHUNK_BYTES: u64 = 256 << 10;

/// An open and locked file, and what was found out about it.
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) file: Arc<File>,
    pub(crate) kind: Kind,
    pub(crate) size_bytes: u64,
    pub(crate) block_size_bytes: u32,
    pub(crate) path: PathBuf,
    pub(crate) health: FileHealth,
}

impl Serve for Storage {
    fn perform(&self, request: DiskRequest) -> io::Result<()> {
        request.check(self.size_bytes)?;
        let DiskRequest { id: _, operation, offset_bytes, length_bytes, buffers, durable } = request;
        match operation {
            DiskOperation::Read => transfer(buffers, offset_bytes, |buffers, offset_bytes| {
                readv_at(&self.file, buffers, offset_bytes)
            })?,
            DiskOperation::Write => transfer(buffers, offset_bytes, |buffers, offset_bytes| {
                writev_at(&self.file, buffers, offset_bytes)
            })?,
            DiskOperation::Flush => self.file.sync_data().map_err(sync_failed)?,
            DiskOperation::Discard => self.discard(offset_bytes, length_bytes)?,
            DiskOperation::WriteZeroes { may_unmap } => {
                self.write_zeroes(offset_bytes, length_bytes, may_unmap)?;
            }
        }
        if durable && operation.is_write() {
            self.file.sync_data()?;
        }
        Ok(())
    }
}

impl Storage {
    /// The raw disk in `host`.
    pub(super) fn new(host: HostFile) -> Result<Storage, OpenError> {
        let HostFile { file, kind, size_bytes, path } = host;
        check_raw_size(&path, size_bytes)?;
        let block_size_bytes = match kind {
            Kind::File => SECTOR_SIZE as u32,
            Kind::BlockDevice => logical_block_size(&file).map_err(|source| OpenError::Io {
                path: path.clone(),
                operation: "measure",
                source,
            })?,
        };
        let health = FileHealth::of(&file, Some(size_bytes));
        Ok(Storage { file, kind, size_bytes, block_size_bytes, path, health })
    }

    /// What has befallen the file that no request shows.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.health.trouble_of(&self.file)
    }

    /// Gives room back. Only a hint: where the host cannot, nothing happens.
    fn discard(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        let answer = match self.kind {
            Kind::File => self.allocate(FallocateFlags::PUNCH_HOLE, offset_bytes, length_bytes),
            Kind::BlockDevice => {
                // A device takes whole blocks only: what sticks out at the ends is kept.
                let block = u64::from(self.block_size_bytes);
                let start_bytes = offset_bytes.next_multiple_of(block);
                let end_bytes = (offset_bytes + length_bytes) / block * block;
                if start_bytes >= end_bytes {
                    return Ok(());
                }
                block_device::discard(&self.file, start_bytes, end_bytes - start_bytes)
            }
        };
        answer.or_else(|error| if is_unsupported(&error) { Ok(()) } else { Err(error) })
    }

    /// Makes the range read as zeros in the cheapest way that the host offers.
    fn write_zeroes(&self, offset_bytes: u64, length_bytes: u64, may_unmap: bool) -> io::Result<()> {
        let ways: &[FallocateFlags] = if may_unmap {
            &[FallocateFlags::PUNCH_HOLE, FallocateFlags::ZERO_RANGE]
        } else {
            &[FallocateFlags::ZERO_RANGE]
        };
        for way in ways {
            match self.allocate(*way, offset_bytes, length_bytes) {
                Err(error) if is_unsupported(&error) => {}
                answer => return answer,
            }
        }
        self.write_zero_chunks(offset_bytes, length_bytes)
    }

    pub(super) fn write_zero_chunks(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        let mut done_bytes = 0;
        while done_bytes < length_bytes {
            let chunk = (length_bytes - done_bytes).min(ZERO_CHUNK_BYTES);
            let zeros = IoBuffers::from_vec(vec![0; chunk as usize]);
            transfer(zeros, offset_bytes + done_bytes, |buffers, offset_bytes| {
                writev_at(&self.file, buffers, offset_bytes)
            })?;
            done_bytes += chunk;
        }
        Ok(())
    }

    fn allocate(&self, how: FallocateFlags, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
        if length_bytes == 0 {
            return Ok(());
        }
        loop {
            match fallocate(&self.file, how | FallocateFlags::KEEP_SIZE, offset_bytes, length_bytes) {
                Err(Errno::INTR) => {}
                answer => return Ok(answer?),
            }
        }
    }
}

/// Whether the host answered that it cannot do such a thing at all: `EOPNOTSUPP` and, from devices asked for
/// less than a block or kernels that do not know the mode, `EINVAL`; `ENOTTY` from drivers without the ioctl.
pub(crate) fn is_unsupported(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOTTY | Errno::NOSYS))
}

/// Repeats `step(rest, offset)` until all of `buffers` is transferred.
pub(crate) fn transfer(
    mut buffers: IoBuffers,
    offset_bytes: u64,
    step: impl Fn(&IoBuffers, u64) -> io::Result<usize>,
) -> io::Result<()> {
    let mut offset_bytes = offset_bytes;
    // Drops pieces without length, of which a transfer could consist otherwise.
    buffers.advance(0);
    while buffers.len_bytes() > 0 {
        match step(&buffers, offset_bytes) {
            Ok(0) => return Err(ended_early()),
            Ok(done) => {
                buffers.advance(done);
                offset_bytes += done as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
