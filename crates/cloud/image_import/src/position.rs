//! Files that are read and written at positions of their own: those of descriptors are shared with the parent.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;

/// Reads from the beginning; `told` hears of the bytes that were read.
pub(crate) struct PositionReader<F> {
    file: File,
    offset_bytes: u64,
    told: F,
}

impl<F: FnMut(u64)> PositionReader<F> {
    pub(crate) fn new(file: File, told: F) -> PositionReader<F> {
        PositionReader { file, offset_bytes: 0, told }
    }
}

impl<F: FnMut(u64)> Read for PositionReader<F> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read_at(out, self.offset_bytes)?;
        self.offset_bytes += length as u64;
        (self.told)(length as u64);
        Ok(length)
    }
}

/// Writes from the beginning, up to a limit.
pub(crate) struct PositionWriter {
    file: File,
    offset_bytes: u64,
    limit_bytes: u64,
}

impl PositionWriter {
    pub(crate) fn new(file: File, limit_bytes: u64) -> PositionWriter {
        PositionWriter { file, offset_bytes: 0, limit_bytes }
    }
}

impl Write for PositionWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.len() as u64 > self.limit_bytes - self.offset_bytes {
            return Err(io::Error::new(
                io::ErrorKind::QuotaExceeded,
                "it is longer than what is let through",
            ));
        }
        let length = self.file.write_at(data, self.offset_bytes)?;
        self.offset_bytes += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
