//! Writing files that have holes where there are only zeros, as long as there is room.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use host_sys::file_copy::free_bytes;

use crate::ArchiveError;

/// Smallest hole: file systems know no smaller ones.
const UNIT_BYTES: usize = 4096;
/// What is left free: a file system that is full stops whoever else writes to it.
const SPARE_BYTES: u64 = 64 << 20;
/// Bytes after which there is another look at what is free.
const LOOK_BYTES: u64 = 32 << 20;

/// The room that there is for what is written.
pub(crate) struct Room {
    folder: PathBuf,
    until_look: u64,
}

impl Room {
    pub(crate) fn of(folder: &Path) -> Room {
        Room { folder: folder.to_owned(), until_look: 0 }
    }

    fn take(&mut self, bytes: u64) -> Result<(), ArchiveError> {
        if self.until_look < bytes {
            let free = free_bytes(&self.folder).map_err(ArchiveError::io("look at", &self.folder))?;
            if free < SPARE_BYTES + LOOK_BYTES {
                return Err(ArchiveError::NoRoom { folder: self.folder.clone(), free });
            }
            self.until_look = LOOK_BYTES;
        }
        self.until_look = self.until_look.saturating_sub(bytes);
        Ok(())
    }
}

/// A new file, as long as it is to be, and all holes.
pub(crate) struct SparseFile<'p> {
    file: File,
    path: &'p Path,
}

impl SparseFile<'_> {
    pub(crate) fn create(path: &Path, size_bytes: u64) -> Result<SparseFile<'_>, ArchiveError> {
        let file = File::options().read(true).write(true).create_new(true).open(path);
        let file = file.map_err(ArchiveError::io("make", path))?;
        file.set_len(size_bytes).map_err(ArchiveError::io("enlarge", path))?;
        Ok(SparseFile { file, path })
    }

    /// Writes what is not zeros; `at` is a multiple of the smallest hole.
    pub(crate) fn write(&self, bytes: &[u8], at: u64, room: &mut Room) -> Result<(), ArchiveError> {
        for (start, end) in runs_of_data(bytes) {
            room.take((end - start) as u64)?;
            self.file
                .write_all_at(&bytes[start..end], at + start as u64)
                .map_err(ArchiveError::io("write", self.path))?;
        }
        Ok(())
    }

    pub(crate) fn sync(self) -> Result<(), ArchiveError> {
        self.file.sync_all().map_err(ArchiveError::io("write", self.path))
    }
}

/// Where units lie that are not all zeros; neighbours are one.
fn runs_of_data(bytes: &[u8]) -> Vec<(usize, usize)> {
    static ZEROS: [u8; UNIT_BYTES] = [0; UNIT_BYTES];
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (index, unit) in bytes.chunks(UNIT_BYTES).enumerate() {
        let start = index * UNIT_BYTES;
        if *unit == ZEROS[..unit.len()] {
            continue;
        }
        match runs.last_mut() {
            Some(last) if last.1 == start => last.1 = start + unit.len(),
            _ => runs.push((start, start + unit.len())),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_passed_over() {
        let mut bytes = vec![0; 5 * 4096 + 7];
        bytes[4095] = 1;
        bytes[4096] = 1;
        bytes[5 * 4096 + 6] = 1;
        assert_eq!(runs_of_data(&bytes), [(0, 8192), (5 * 4096, 5 * 4096 + 7)]);
        assert_eq!(runs_of_data(&[0; 9000]), []);
    }
}
