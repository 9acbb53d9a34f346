//! The host's side of a raw disk, and requests served with system calls that block.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use guest_memory::IoBuffers;
use host_sys::block_device::{self, logical_block_size, physical_block_size};
use host_sys::io_buffers::{readv_at, writev_at};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::contract::{DiskOperation, DiskRequest, SECTOR_SIZE};
use crate::dirty_bitmap::DirtyBitmap;
use crate::error::OpenError;
use crate::host_file::{HostFile, Kind, check_raw_size};
use crate::thread_queue::Serve;
use crate::transfer::{is_unsupported, transfer};
use crate::trouble::{FileHealth, Trouble, sync_failed};

/// Zeros written at once where the file system has no better way, in bytes.
const ZERO_CHUNK_BYTES: u64 = 256 << 10;

/// An open and locked file, and what was found out about it.
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) file: Arc<File>,
    pub(crate) kind: Kind,
    /// It only grows: a request that was checked against it stays a good one.
    length_bytes: AtomicU64,
    /// What the host takes at least.
    pub(crate) block_size_bytes: u32,
    /// What its device moves at least.
    pub(crate) physical_block_bytes: u32,
    pub(crate) path: PathBuf,
    pub(crate) health: FileHealth,
    pub(crate) dirty: Arc<DirtyBitmap>,
}

impl Serve for Storage {
    fn perform(&self, request: DiskRequest) -> io::Result<()> {
        request.check(self.size_bytes())?;
        let (operation, durable) = (request.operation, request.durable);
        let (offset_bytes, length_bytes) = (request.offset_bytes, request.length_bytes);
        let done = self.transfer(request);
        if operation.is_write() {
            self.dirty.mark(offset_bytes, length_bytes);
        }
        done?;
        if durable && operation.is_write() {
            self.file.sync_data()?;
        }
        Ok(())
    }
}

impl Storage {
    /// Serves a request but for its durability.
    fn transfer(&self, request: DiskRequest) -> io::Result<()> {
        let DiskRequest { id: _, operation, offset_bytes, length_bytes, buffers, durable: _ } = request;
        match operation {
            DiskOperation::Read => transfer(buffers, offset_bytes, |buffers, offset_bytes| {
                readv_at(&self.file, buffers, offset_bytes)
            }),
            DiskOperation::Write => transfer(buffers, offset_bytes, |buffers, offset_bytes| {
                writev_at(&self.file, buffers, offset_bytes)
            }),
            DiskOperation::Flush => self.file.sync_data().map_err(sync_failed),
            DiskOperation::Discard => self.discard(offset_bytes, length_bytes),
            DiskOperation::WriteZeroes { may_unmap } => {
                self.write_zeroes(offset_bytes, length_bytes, may_unmap)
            }
        }
    }

    /// The raw disk in `host`.
    pub(super) fn new(host: HostFile) -> Result<Storage, OpenError> {
        check_raw_size(&host.path, host.size_bytes)?;
        let (block_size_bytes, physical_block_bytes) = block_sizes(&host)?;
        let HostFile { file, kind, size_bytes, path, dirty } = host;
        let health = FileHealth::of(&file);
        let length_bytes = AtomicU64::new(size_bytes);
        Ok(Storage { file, kind, length_bytes, block_size_bytes, physical_block_bytes, path, health, dirty })
    }

    /// A file for transfers at any place, in sectors: whoever asks for them knows how long it is.
    pub(crate) fn without_end(file: Arc<File>, path: PathBuf, dirty: Arc<DirtyBitmap>) -> Storage {
        let sector = SECTOR_SIZE as u32;
        Storage {
            health: FileHealth::of(&file),
            file,
            kind: Kind::File,
            length_bytes: AtomicU64::new(u64::MAX),
            block_size_bytes: sector,
            physical_block_bytes: sector,
            path,
            dirty,
        }
    }

    /// Length of the disk.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.length_bytes.load(Ordering::SeqCst)
    }

    /// Serves requests up to `size_bytes` from now on, which the file has.
    pub(super) fn grow_to(&self, size_bytes: u64) {
        self.length_bytes.fetch_max(size_bytes, Ordering::SeqCst);
    }

    /// What has befallen the file that no request shows.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        self.health.trouble_of(&self.file, Some(self.size_bytes()))
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

/// Sizes of the blocks that the host takes at least, and that its device moves at least, in bytes.
pub(crate) fn block_sizes(host: &HostFile) -> Result<(u32, u32), OpenError> {
    let HostFile { file, kind, path, .. } = host;
    match kind {
        Kind::File => Ok((SECTOR_SIZE as u32, SECTOR_SIZE as u32)),
        Kind::BlockDevice => logical_block_size(file)
            .and_then(|logical| Ok((logical, physical_block_size(file)?)))
            .map_err(|source| OpenError::Io { path: path.clone(), operation: "measure", source }),
    }
}
