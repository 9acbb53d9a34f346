//! The file that an image is kept in, as the code of a format sees it.
//!
//! Implemented by: host files here, and by files in memory for tests that need to cut the power. All calls
//! block and may come from several threads at once.

use std::fs::File;
use std::io;
use std::sync::Arc;

use guest_memory::IoBuffers;
use host_sys::io_buffers::{readv_at, writev_at};
use rustix::fs::{FallocateFlags, fallocate, fstat};
use rustix::io::Errno;

use crate::dirty_bitmap::DirtyBitmap;
use crate::host_file::HostFile;
use crate::transfer::{is_unsupported, transfer};

/// Zeros written or copied at once, in bytes.
const ZERO_CHUNK_BYTES: u64 = 256 << 10;

/// A file that grows by being written to. Errors are those of the host's system calls.
pub trait ImageFile: Send + Sync {
    /// Its length in bytes.
    fn len_bytes(&self) -> io::Result<u64>;

    /// Fills the buffers from `offset_bytes` on; what lies beyond the end reads as zeros.
    fn read(&self, buffers: IoBuffers, offset_bytes: u64) -> io::Result<()>;

    /// Writes the buffers from `offset_bytes` on.
    fn write(&self, buffers: IoBuffers, offset_bytes: u64) -> io::Result<()>;

    /// Makes the range read as zeros, by giving its room back where `may_unmap` and the host allow it.
    fn write_zeroes(&self, offset_bytes: u64, length_bytes: u64, may_unmap: bool) -> io::Result<()>;

    /// Makes the file longer, with zeros, or shorter.
    fn set_len(&self, length_bytes: u64) -> io::Result<()>;

    /// Brings everything that was written to stable storage.
    fn sync(&self) -> io::Result<()>;

    /// The host's file, where there is one: for I/O past this trait.
    fn host_file(&self) -> Option<Arc<File>> {
        None
    }

    /// What has to be told of each write past this trait.
    fn dirty_bitmap(&self) -> Arc<DirtyBitmap> {
        Arc::default()
    }
}

/// The bytes from `offset_bytes` on, zeros beyond the end of the file.
///
/// # Errors
/// The kernel's answer.
pub fn read_vec(file: &dyn ImageFile, offset_bytes: u64, length: usize) -> io::Result<Vec<u8>> {
    let buffers = IoBuffers::from_vec(vec![0; length]);
    file.read(buffers.slice(0, length), offset_bytes)?;
    Ok(buffers.to_vec(length))
}

/// Fills the buffers with zeros.
pub fn fill_with_zeros(buffers: &IoBuffers) {
    let zeros = vec![0; (ZERO_CHUNK_BYTES as usize).min(buffers.len_bytes())];
    let mut done = 0;
    while done < buffers.len_bytes() {
        done += buffers.slice(done, zeros.len()).fill_from(&zeros);
    }
}

impl ImageFile for HostFile {
    fn len_bytes(&self) -> io::Result<u64> {
        // Not by a call that takes a name: confined readers have none of those.
        Ok(fstat(&self.file)?.st_size as u64)
    }

    fn read(&self, buffers: IoBuffers, offset_bytes: u64) -> io::Result<()> {
        transfer(buffers, offset_bytes, |rest, offset_bytes| {
            match readv_at(&self.file, rest, offset_bytes)? {
                // Behind the file's end.
                0 => {
                    fill_with_zeros(rest);
                    Ok(rest.len_bytes())
                }
                done => Ok(done),
            }
        })
    }

    fn write(&self, buffers: IoBuffers, offset_bytes: u64) -> io::Result<()> {
        let length_bytes = buffers.len_bytes() as u64;
        let written = transfer(buffers, offset_bytes, |buffers, offset_bytes| {
            writev_at(&self.file, buffers, offset_bytes)
        });
        self.dirty.mark(offset_bytes, length_bytes);
        written
    }

    fn write_zeroes(&self, offset_bytes: u64, length_bytes: u64, may_unmap: bool) -> io::Result<()> {
        let end_bytes = offset_bytes + length_bytes;
        let way = if may_unmap { FallocateFlags::PUNCH_HOLE } else { FallocateFlags::ZERO_RANGE };
        if length_bytes == 0 {
            return Ok(());
        }
        // A hole beyond the end would leave the file as short as it was: it reads as zeros all the same.
        match allocate(&self.file, way | FallocateFlags::KEEP_SIZE, offset_bytes, length_bytes) {
            Err(error) if is_unsupported(&error) => {}
            answer => {
                self.dirty.mark(offset_bytes, length_bytes);
                return answer;
            }
        }
        let mut at_bytes = offset_bytes;
        while at_bytes < end_bytes {
            let chunk = (end_bytes - at_bytes).min(ZERO_CHUNK_BYTES);
            self.write(IoBuffers::from_vec(vec![0; chunk as usize]), at_bytes)?;
            at_bytes += chunk;
        }
        Ok(())
    }

    fn set_len(&self, length_bytes: u64) -> io::Result<()> {
        let there_bytes = self.len_bytes()?;
        let set = self.file.set_len(length_bytes);
        let start_bytes = there_bytes.min(length_bytes);
        self.dirty.mark(start_bytes, there_bytes.max(length_bytes) - start_bytes);
        set
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn host_file(&self) -> Option<Arc<File>> {
        Some(Arc::clone(&self.file))
    }

    fn dirty_bitmap(&self) -> Arc<DirtyBitmap> {
        Arc::clone(&self.dirty)
    }
}

fn allocate(file: &File, how: FallocateFlags, offset_bytes: u64, length_bytes: u64) -> io::Result<()> {
    loop {
        match fallocate(file, how, offset_bytes, length_bytes) {
            Err(Errno::INTR) => {}
            answer => return Ok(answer?),
        }
    }
}
