//! A log of what the guest says.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, fchmod, open};
use rustix::io::Errno;

use crate::output::{BoundedOutput, Sink};
use crate::{CharBackend, CharError};

/// Output to a file, created if need be and appended to: what a former run said stays. There is no input.
///
/// A named pipe or a device does as well; a pipe needs its reader first.
pub struct FileLog {
    output: BoundedOutput,
}

impl FileLog {
    /// Opens the file at `path`. Where it is made, its permissions are `mode`, whatever the umask says.
    pub fn open(path: &Path, mode: u32) -> Result<FileLog, CharError> {
        let fd = open_or_make(path, Mode::from_raw_mode(mode))
            .map_err(|errno| CharError::File { path: path.to_owned(), source: in_words(path, errno) })?;
        Ok(FileLog { output: BoundedOutput::new(Sink::Plain(fd)) })
    }
}

fn open_or_make(path: &Path, mode: Mode) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CLOEXEC
        | OFlags::NOCTTY
        // A named pipe without a reader refuses instead of waiting for one.
        | OFlags::NONBLOCK;
    match open(path, flags | OFlags::CREATE | OFlags::EXCL, mode) {
        Ok(fd) => {
            fchmod(&fd, mode)?;
            Ok(fd)
        }
        // Also for a link that leads to where nothing is yet.
        Err(Errno::EXIST) => open(path, flags | OFlags::CREATE, mode),
        Err(errno) => Err(errno),
    }
}

/// Why a file did not open, where the kernel's answer says little.
fn in_words(path: &Path, errno: Errno) -> io::Error {
    let kind = path.metadata().map(|metadata| metadata.file_type());
    match (errno, kind) {
        (Errno::NXIO, Ok(kind)) if kind.is_fifo() => io::Error::other("it is a pipe that nobody reads"),
        (Errno::NXIO, Ok(kind)) if kind.is_socket() => {
            io::Error::other("it is a socket; socket=PATH listens at one")
        }
        _ => errno.into(),
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
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_log_is_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console.log");
        for text in ["one\n", "two\n"] {
            let log = FileLog::open(&path, 0o640).unwrap();
            log.write(text.as_bytes());
            assert!(log.readable().is_none());
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o640);
        // What is there keeps its permissions.
        FileLog::open(&path, 0o600).unwrap();
        assert_eq!(mode(&path), 0o640);
        let error = FileLog::open(folder.path(), 0o600).err().unwrap().to_string();
        assert_eq!(error, format!("cannot open console file {}", folder.path().display()));
    }
}
