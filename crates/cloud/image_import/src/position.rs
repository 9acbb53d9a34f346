//! Files that are read and written at positions of their own: those of descriptors are shared with the parent.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

use oci_image::ByteRange;
use rustix::fs::fstat;

/// How long a file is.
pub(crate) fn length_bytes(file: &File) -> io::Result<u64> {
    Ok(fstat(file)?.st_size as u64)
}

/// Reads a range of a file, positions counted from its beginning; `told` hears of the bytes that were read.
pub(crate) struct PositionReader<'a, F> {
    file: &'a File,
    range: ByteRange,
    position_bytes: u64,
    told: F,
}

impl<'a, F: FnMut(u64)> PositionReader<'a, F> {
    pub(crate) fn new(file: &'a File, range: ByteRange, told: F) -> PositionReader<'a, F> {
        PositionReader { file, range, position_bytes: 0, told }
    }
}

impl<F: FnMut(u64)> Read for PositionReader<'_, F> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.range.length_bytes.saturating_sub(self.position_bytes);
        let wanted = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        let length = self.file.read_at(&mut out[..wanted], self.range.offset_bytes + self.position_bytes)?;
        self.position_bytes += length as u64;
        (self.told)(length as u64);
        Ok(length)
    }
}

impl<F: FnMut(u64)> Seek for PositionReader<'_, F> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.range.length_bytes.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position_bytes.checked_add_signed(offset),
        };
        self.position_bytes = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position_bytes)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_file_of_its_own() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let mut told = 0;
        let range = ByteRange { offset_bytes: 3, length_bytes: 4 };
        let mut reader = PositionReader::new(&file, range, |bytes| told += bytes);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "3456");
        assert_eq!(reader.seek(SeekFrom::End(-1)).unwrap(), 3);
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "34566");
        assert_eq!(reader.seek(SeekFrom::Current(i64::MAX)).unwrap(), 4 + i64::MAX as u64);
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
        assert!(reader.seek(SeekFrom::End(-5)).is_err());
        assert_eq!(told, 5);
        assert_eq!((&file).stream_position().unwrap(), 10, "the descriptor's position is as it was");
    }
}
