//! The bytes of a file: read once if it is small, piece by piece otherwise, so that a large kernel or initrd
//! is never held in this process's own memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use host_sys::named_file::{Accepts, open_named};

use crate::FileFault;

/// Files up to this size are read at once, in bytes.
const READ_AT_ONCE: u64 = 64 << 10;

/// Where the bytes of an image come from.
#[derive(Debug)]
pub(crate) enum Source {
    Bytes(Vec<u8>),
    /// A range of a file.
    File {
        file: File,
        start: u64,
        size_bytes: u64,
    },
}

impl Source {
    /// Opens a regular file that is not empty.
    pub fn open(path: &Path) -> Result<Source, FileFault> {
        let file = open_named(path, Accepts::File).map_err(FileFault::Open)?.file;
        let size_bytes = file.metadata().map_err(FileFault::Open)?.len();
        match size_bytes {
            0 => Err(FileFault::Empty),
            1..=READ_AT_ONCE => {
                let mut bytes = vec![0; size_bytes as usize];
                file.read_exact_at(&mut bytes, 0).map_err(FileFault::Read)?;
                Ok(Source::Bytes(bytes))
            }
            _ => Ok(Source::File { file, start: 0, size_bytes }),
        }
    }

    pub fn size_bytes(&self) -> u64 {
        match self {
            Source::Bytes(bytes) => bytes.len() as u64,
            Source::File { size_bytes, .. } => *size_bytes,
        }
    }

    /// Fills `data` from `offset` on. `UnexpectedEof` where the bytes end before.
    pub fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        match self {
            Source::File { file, start, size_bytes } => {
                let end = offset.checked_add(data.len() as u64);
                if end.is_none_or(|end| end > *size_bytes) {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                file.read_exact_at(data, start + offset)
            }
            Source::Bytes(bytes) => {
                let from = usize::try_from(offset).ok();
                let part = from.and_then(|from| bytes.get(from..from.checked_add(data.len())?));
                data.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }

    /// A range of it as a source of its own.
    pub fn part(&self, offset: u64, size_bytes: u64) -> io::Result<Source> {
        match self {
            Source::File { file, start, .. } if size_bytes > READ_AT_ONCE => {
                Ok(Source::File { file: file.try_clone()?, start: start + offset, size_bytes })
            }
            _ if size_bytes > self.size_bytes() => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {
                let mut bytes = vec![0; size_bytes as usize];
                self.read_at(offset, &mut bytes)?;
                Ok(Source::Bytes(bytes))
            }
        }
    }

    /// The first bytes, at most `limit`.
    pub fn head(&self, limit: usize) -> io::Result<Vec<u8>> {
        let len = self.size_bytes().min(limit as u64) as usize;
        let mut head = vec![0; len];
        self.read_at(0, &mut head)?;
        Ok(head)
    }
}

/// Reads a range of a [`Source`] from front to back, for decoders.
pub(crate) struct SourceReader<'a> {
    source: &'a Source,
    position: u64,
    end: u64,
}

impl<'a> SourceReader<'a> {
    /// The range must lie in the source.
    pub fn new(source: &'a Source, start: u64, end: u64) -> SourceReader<'a> {
        SourceReader { source, position: start, end }
    }
}

impl io::Read for SourceReader<'_> {
    fn read(&mut self, data: &mut [u8]) -> io::Result<usize> {
        let len = self.end.saturating_sub(self.position).min(data.len() as u64) as usize;
        self.source.read_at(self.position, &mut data[..len])?;
        self.position += len as u64;
        Ok(len)
    }
}
