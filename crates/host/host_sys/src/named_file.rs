//! Opening files by names that a person gave.
//!
//! ```text
//! name ─ open O_PATH ─► what is it? ─┬─ what was wanted ─► opened for use, the same inode
//!                                    └─ anything else ───► refused in words, nothing was opened
//! ```
//!
//! Opening some things does something: a pipe waits for its other end, a watchdog starts to count, a tape winds back. A
//! descriptor that is only a place (open(2), `O_PATH`) does none of it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, Stat, fcntl_getfl, fcntl_setfl, fstat, major, minor, open};
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;

/// What may be behind a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// A regular file: it is read at any place, and more than once.
    File,
    /// A regular file or a block device.
    Disk,
    /// What can be read once from its start to its end: a regular file, a pipe that somebody writes to (`/dev/stdin`, or
    /// what a shell makes of `<(…)`), the terminal at the standard input, `/dev/null`.
    Stream,
}

/// What is behind a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharacterDevice,
    /// A pipe, with a name or without.
    Pipe,
    /// A socket.
    Socket,
}

impl FileKind {
    fn of(stat: &Stat) -> FileKind {
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => FileKind::Folder,
            FileType::BlockDevice => FileKind::BlockDevice,
            FileType::CharacterDevice => FileKind::CharacterDevice,
            FileType::Fifo => FileKind::Pipe,
            FileType::Socket => FileKind::Socket,
            // What has no kind is a file in memory, or one of the kernel's own.
            _ => FileKind::File,
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FileKind::File => "a file",
            FileKind::Folder => "a folder",
            FileKind::BlockDevice => "a block device",
            FileKind::CharacterDevice => "a character device",
            FileKind::Pipe => "a pipe",
            FileKind::Socket => "a socket",
        })
    }
}

/// Something else is behind a name than can be used. It is the inner error of the [`io::Error`] that is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotUsable {
    /// Of a kind that does not do.
    #[error("it is {found}, and {} is needed", wanted(.accepts))]
    Kind {
        /// What is there.
        found: FileKind,
        /// What would do.
        accepts: Accepts,
    },
    /// A pipe that would be waited for.
    #[error("it is a pipe that nobody writes to")]
    NoWriter,
    /// Longer than was let through.
    #[error("it is longer than {} MiB; is it the right file?", .0 >> 20)]
    TooLong(u64),
}

fn wanted(accepts: &Accepts) -> &'static str {
    match accepts {
        Accepts::File => "a regular file",
        Accepts::Disk => "a disk image or block device",
        Accepts::Stream => "a file or a pipe",
    }
}

impl From<NotUsable> for io::Error {
    fn from(fault: NotUsable) -> io::Error {
        let kind = match fault {
            NotUsable::Kind { found: FileKind::Folder, .. } => io::ErrorKind::IsADirectory,
            NotUsable::TooLong(_) => io::ErrorKind::FileTooLarge,
            NotUsable::Kind { .. } | NotUsable::NoWriter => io::ErrorKind::InvalidInput,
        };
        io::Error::new(kind, fault)
    }
}

/// What a name led to.
#[derive(Debug)]
pub struct NamedFile {
    /// Open for reading, perhaps for writing.
    pub file: File,
    /// What it is; one of those that are accepted.
    pub kind: FileKind,
}

/// Opens what a person named, for reading. Never waits, and opens nothing but what is accepted.
///
/// # Errors
/// The kernel's answer, or [`NotUsable`].
pub fn open_named(path: &Path, accepts: Accepts) -> io::Result<NamedFile> {
    open_as(path, accepts, OFlags::RDONLY)
}

/// The same, for reading and writing.
///
/// # Errors
/// As for [`open_named`].
pub fn open_named_for_writing(path: &Path, accepts: Accepts) -> io::Result<NamedFile> {
    open_as(path, accepts, OFlags::RDWR)
}

/// All that is in the file or the pipe of this name, if that is at most `bytes_max`.
///
/// # Errors
/// The kernel's answer, or [`NotUsable`].
pub fn read_named(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = open_named(path, Accepts::Stream)?.file;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(NotUsable::TooLong(bytes_max).into());
    }
    Ok(bytes)
}

/// The folder that a file of this name is in, as it can be opened: `.` for a bare name.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        // The root, which is its own; or no name at all.
        None if path.has_root() => path,
        None => Path::new("."),
    }
}

fn open_as(path: &Path, accepts: Accepts, access: OFlags) -> io::Result<NamedFile> {
    let place = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let stat = fstat(&place)?;
    let kind = FileKind::of(&stat);
    if !is_accepted(&stat, kind, accepts) {
        return Err(NotUsable::Kind { found: kind, accepts }.into());
    }
    let fd = open_place(&place, path, &stat, access | OFlags::CLOEXEC | OFlags::NOCTTY)?;
    if kind == FileKind::Pipe {
        check_writer(&fd)?;
    }
    // Bytes of a pipe may be waited for, as its writer is there; and io_uring would refuse requests instead of waiting.
    fcntl_setfl(&fd, fcntl_getfl(&fd)? & !OFlags::NONBLOCK)?;
    Ok(NamedFile { file: File::from(fd), kind })
}

fn is_accepted(stat: &Stat, kind: FileKind, accepts: Accepts) -> bool {
    match (kind, accepts) {
        (FileKind::File, _) | (FileKind::BlockDevice, Accepts::Disk) | (FileKind::Pipe, Accepts::Stream) => {
            true
        }
        (FileKind::CharacterDevice, Accepts::Stream) => is_null(stat) || is_standard_input(stat),
        _ => false,
    }
}

/// `/dev/null` (Linux, Documentation/admin-guide/devices.txt: 1:3).
fn is_null(stat: &Stat) -> bool {
    (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3)
}

/// A terminal that this process was started with is open already.
fn is_standard_input(stat: &Stat) -> bool {
    fstat(io::stdin().as_fd())
        .is_ok_and(|own| FileKind::of(&own) == FileKind::CharacterDevice && own.st_rdev == stat.st_rdev)
}

/// Opens for use what `place` is; `path` is its name, for hosts that show no `/proc`.
fn open_place(place: &OwnedFd, path: &Path, stat: &Stat, flags: OFlags) -> io::Result<OwnedFd> {
    let itself = format!("/proc/self/fd/{}", place.as_raw_fd());
    // Without a drive's medium, a block device opens in that mode and cannot be read.
    let is_storage = matches!(FileKind::of(stat), FileKind::File | FileKind::BlockDevice);
    let waiting = if is_storage { OFlags::empty() } else { OFlags::NONBLOCK };
    match open(itself, flags | waiting, Mode::empty()) {
        Err(Errno::NOENT) => {}
        answer => return Ok(answer?),
    }
    let fd = open(path, flags | OFlags::NONBLOCK, Mode::empty())?;
    let opened = fstat(&fd)?;
    if (opened.st_dev, opened.st_ino) != (stat.st_dev, stat.st_ino) {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "another file took its name just now; try again",
        ));
    }
    Ok(fd)
}

/// Refuses a pipe that nobody has written to and nobody can: a writer may never come (fifo(7)).
fn check_writer(pipe: &OwnedFd) -> io::Result<()> {
    let mut polled = [PollFd::new(pipe, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec::default()))?;
    if polled[0].revents().intersects(PollFlags::IN | PollFlags::HUP) {
        return Ok(());
    }
    // A pipe is at its end for who looks at its first byte without taking it, unless it has a writer (tee(2)).
    let (_end, copy) = rustix::pipe::pipe()?;
    match rustix::pipe::tee(pipe, &copy, 1, SpliceFlags::NONBLOCK) {
        Ok(0) => Err(NotUsable::NoWriter.into()),
        Ok(_) | Err(Errno::AGAIN) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests;
