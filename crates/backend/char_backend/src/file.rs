//! A log of what the guest says.

use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};

use crate::output::{BoundedOutput, Sink};
use crate::{CharBackend, CharError};

/// Output to a file, created if need be and appended to: what a former run said stays. There is no input.
///
/// A named pipe or a device does as well; a pipe needs its reader first.
pub struct FileLog {
    output: BoundedOutput,
}

impl FileLog {
    /// Opens the file at `path`.
    pub fn open(path: &Path) -> Result<FileLog, CharError> {
        let flags = OFlags::WRONLY
            | OFlags::CREATE
            | OFlags::APPEND
            | OFlags::CLOEXEC
            | OFlags::NOCTTY
            // A named pipe without a reader refuses instead of waiting for one.
            | OFlags::NONBLOCK;
        let fd = open(path, flags, Mode::from_raw_mode(0o644))
            .map_err(|errno| CharError::File { path: path.to_owned(), source: errno.into() })?;
        Ok(FileLog { output: BoundedOutput::new(Sink::Plain(fd)) })
    }
}

impl CharBackend for FileLog {
    fn write(&self, data: &[u8]) {
        self.output.write(data);
    }

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn read(&self, _buffer: &mut [u8]) -> usize {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console.log");
        for text in ["one\n", "two\n"] {
            let log = FileLog::open(&path).unwrap();
            log.write(text.as_bytes());
            assert!(log.readable().is_none());
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        let error = FileLog::open(folder.path()).err().unwrap().to_string();
        assert_eq!(error, format!("cannot open console file {}", folder.path().display()));
    }
}
