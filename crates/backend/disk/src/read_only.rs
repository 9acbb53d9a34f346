//! Files of which nothing is changed, whatever is asked.

use std::io;
use std::sync::Arc;

use guest_memory::IoBuffers;

use crate::error::FormatError;
use crate::image_file::{ImageFile, fill_with_zeros};

/// What a file does that is read only and asked to change.
macro_rules! only_read {
    () => {
        fn write(&self, _buffers: IoBuffers, _offset_bytes: u64) -> io::Result<()> {
            Err(io::ErrorKind::ReadOnlyFilesystem.into())
        }

        fn write_zeroes(&self, _offset_bytes: u64, _length_bytes: u64, _may_unmap: bool) -> io::Result<()> {
            Err(io::ErrorKind::ReadOnlyFilesystem.into())
        }

        fn set_len(&self, _length_bytes: u64) -> io::Result<()> {
            Err(io::ErrorKind::ReadOnlyFilesystem.into())
        }

        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
    };
}

/// A range of a file.
pub struct FileRange {
    file: Arc<dyn ImageFile>,
    start_bytes: u64,
    length_bytes: u64,
}

impl FileRange {
    /// The bytes of `file` from `start_bytes` on; what of them lies behind its end reads as zeros.
    pub fn new(file: Arc<dyn ImageFile>, start_bytes: u64, length_bytes: u64) -> FileRange {
        FileRange { file, start_bytes, length_bytes }
    }
}

impl ImageFile for FileRange {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.length_bytes)
    }

    fn read(&self, buffers: IoBuffers, offset_bytes: u64) -> io::Result<()> {
        let length = buffers.len_bytes();
        let there = self.length_bytes.saturating_sub(offset_bytes).min(length as u64) as usize;
        if there > 0 {
            self.file.read(buffers.slice(0, there), self.start_bytes.saturating_add(offset_bytes))?;
        }
        fill_with_zeros(&buffers.slice(there, length - there));
        Ok(())
    }

    only_read!();
}

/// An image's file as long as it is. Machines read zeros behind the end; what is imported has no such places, or
/// it was cut short.
pub(crate) struct Uncut {
    file: Arc<dyn ImageFile>,
    /// Where the last cluster ends, which a writer may have left incomplete.
    end_bytes: u64,
}

impl Uncut {
    /// The file of an image with clusters of `cluster_bytes`.
    pub(crate) fn new(file: Arc<dyn ImageFile>, cluster_bytes: u64) -> io::Result<Uncut> {
        let file_bytes = file.len_bytes()?;
        let end_bytes = file_bytes.checked_next_multiple_of(cluster_bytes);
        Ok(Uncut { file, end_bytes: end_bytes.unwrap_or(file_bytes) })
    }
}

impl ImageFile for Uncut {
    fn len_bytes(&self) -> io::Result<u64> {
        self.file.len_bytes()
    }

    fn read(&self, buffers: IoBuffers, offset_bytes: u64) -> io::Result<()> {
        let end_bytes = offset_bytes.checked_add(buffers.len_bytes() as u64);
        if end_bytes.is_none_or(|end_bytes| end_bytes > self.end_bytes) {
            return Err(
                FormatError::damaged("it leads behind the end of the file, which was cut short").into()
            );
        }
        self.file.read(buffers, offset_bytes)
    }

    only_read!();
}
