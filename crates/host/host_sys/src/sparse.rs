//! Files with holes: what is zero is left out where they are written.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

/// What is looked at for zeros, and left out: a file system's block.
const BLOCK_BYTES: usize = 4096;
static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// Writes a new file from its start to its end and leaves out blocks that are zero.
#[derive(Debug)]
pub struct SparseWriter {
    file: File,
    position: u64,
}

impl SparseWriter {
    /// A writer to `file`, which has to be empty.
    pub fn new(file: File) -> SparseWriter {
        SparseWriter { file, position: 0 }
    }

    /// Goes on at another place, behind what is written; what lies between is a hole.
    pub fn seek(&mut self, position: u64) {
        self.position = position;
    }

    /// Bytes written by now, zeros included.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Gives the file its length in bytes and returns it.
    ///
    /// # Errors
    /// What the host refuses.
    pub fn finish(self, bytes: u64) -> io::Result<File> {
        self.file.set_len(bytes)?;
        Ok(self.file)
    }
}

impl Write for SparseWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let (zeros, bytes) = first_run(self.position, data);
        if !zeros {
            self.file.write_all_at(&data[..bytes], self.position)?;
        }
        self.position += bytes as u64;
        Ok(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether `data` begins with zeros, and for how many bytes it goes on so, in whole blocks of the file where it goes to
/// `position`.
pub fn first_run(position: u64, data: &[u8]) -> (bool, usize) {
    let mut taken = block_at(position, data.len());
    let zeros = is_zero(&data[..taken]);
    while taken < data.len() {
        let next = block_at(position + taken as u64, data.len() - taken);
        if is_zero(&data[taken..taken + next]) != zeros {
            break;
        }
        taken += next;
    }
    (zeros, taken)
}

/// Bytes to the end of the block, or of the data.
fn block_at(position: u64, bytes: usize) -> usize {
    let to_block_end = BLOCK_BYTES - (position % BLOCK_BYTES as u64) as usize;
    bytes.min(to_block_end)
}

fn is_zero(block: &[u8]) -> bool {
    block == &ZEROS[..block.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn writing_in_odd_pieces_gives_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("written");
        let mut bytes = vec![0; 8 << 20];
        for at in [0, 4095, 4096, 3 << 20, (5 << 20) + 17, (8 << 20) - 1] {
            bytes[at] = 7;
        }
        let mut writer = SparseWriter::new(File::create(&path).unwrap());
        for piece in bytes.chunks(70_001) {
            writer.write_all(piece).unwrap();
        }
        assert_eq!(writer.position(), bytes.len() as u64);
        writer.finish(bytes.len() as u64).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert!(fs::metadata(&path).unwrap().blocks() * 512 < 1 << 20);
    }

    #[test]
    fn what_is_passed_over_is_a_hole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("written");
        let mut writer = SparseWriter::new(File::create(&path).unwrap());
        writer.write_all(b"a").unwrap();
        writer.seek(2 << 20);
        writer.write_all(b"b").unwrap();
        writer.finish(3 << 20).unwrap();
        let read = fs::read(&path).unwrap();
        assert_eq!((read[0], read[1], read[2 << 20], read.len()), (b'a', 0, b'b', 3 << 20));
        assert!(fs::metadata(&path).unwrap().blocks() * 512 < 1 << 20);
    }
}
