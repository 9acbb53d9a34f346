//! Why a disk cannot be used: words that all formats share.

use std::io;
use std::path::{Path, PathBuf};

use host_sys::file_lock::LockKind;
use messages::Bytes;

use crate::disguise::Disguise;
use crate::format::SourceFormat;
use crate::trouble::Trouble;

/// Why a file cannot be used as qcow2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// It stands on another file, and that is not followed.
    #[error(
        "it is only what differs from a backing file; make it whole with 'yagura disk convert' where both are"
    )]
    BackingRefused,
    /// Something else.
    #[error("it does not begin as a qcow2 image does")]
    NotQcow2,
    /// Something else than what it was said to be.
    #[error("it does not begin as {0} does")]
    NotThis(&'static str),
    /// A part of the format that is left out.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// It makes no sense.
    #[error("the image is damaged: {0}")]
    Damaged(String),
    /// It can be read only.
    #[error("the image cannot be written to: {0}")]
    NotWritable(String),
    /// A file that it needs is not there.
    #[error("it has data in the file '{0}', which is not beside it; put both into one folder")]
    PartMissing(String),
    /// The host could not read or write it: the kernel's answer.
    #[error("{0}")]
    Io(String),
}

impl FormatError {
    /// It makes no sense, for this reason.
    pub fn damaged(what: impl Into<String>) -> FormatError {
        FormatError::Damaged(what.into())
    }

    /// This part of the format is left out.
    pub fn unsupported(what: impl Into<String>) -> FormatError {
        FormatError::Unsupported(what.into())
    }
}

impl From<io::Error> for FormatError {
    fn from(error: io::Error) -> FormatError {
        match error.downcast::<FormatError>() {
            Ok(error) => error,
            Err(error) => FormatError::Io(messages::in_words(&error)),
        }
    }
}

impl From<FormatError> for io::Error {
    fn from(error: FormatError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}

/// Why a disk could not be opened. Each says which file it was and, where it helps, what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is nothing at the path.
    #[error("disk {0} does not exist")]
    Missing(PathBuf),
    /// A directory is no disk.
    #[error("disk {0} is a directory, not a disk image or block device")]
    Directory(PathBuf),
    /// A block device is as long as it is.
    #[error("disk {0} is a block device: enlarge it where it was made, and machines see it")]
    FixedLength(PathBuf),
    /// The file may not even be read.
    #[error("disk {0} cannot be opened: permission denied")]
    Permission(PathBuf),
    /// The file may be read, but a writable disk was asked for.
    #[error("disk {0} cannot be written: attach it as readonly, or change its permissions")]
    NotWritable(PathBuf),
    /// Nothing in it.
    #[error("disk {0} is empty: give it a size first, for example with `truncate -s 10G {0}`")]
    Empty(PathBuf),
    /// Not whole sectors.
    #[error(
        "disk {path} is {size_bytes} bytes long, not a multiple of 512: is it a raw image? \
         `truncate -s %512 {path}` fills up its last sector"
    )]
    Misaligned {
        /// The file.
        path: PathBuf,
        /// Its size.
        size_bytes: u64,
    },
    /// It was said to be raw, and looks like something else.
    #[error("{0}")]
    Disguised(Disguise),
    /// Not whole blocks.
    #[error(
        "disk {path} is {size_bytes} bytes long, not a multiple of its block size of {block_bytes}: \
         give it block-size=512, or make it larger by 'yagura disk resize'"
    )]
    BlockSize {
        /// The file.
        path: PathBuf,
        /// Length of the disk.
        size_bytes: u64,
        /// The block size that was asked for.
        block_bytes: u32,
    },
    /// Another opening holds a lock.
    #[error("disk {path} is in use by another machine or process{}", in_use_hint(.wanted))]
    InUse {
        /// The file.
        path: PathBuf,
        /// The lock that was wanted.
        wanted: LockKind,
    },
    /// Its name leads elsewhere than when it was opened.
    #[error("disk {0} was removed, or replaced by another file, since it was opened: have it opened anew")]
    Moved(PathBuf),
    /// It is not what its format says, or uses something of the format that is not supported.
    #[error("disk {path} cannot be used as qcow2")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// It is not what its format says, or uses something of the format that is not supported.
    #[error("disk {path} cannot be read as {format}")]
    Source {
        /// The file.
        path: PathBuf,
        /// What it was said to be.
        format: SourceFormat,
        /// What is wrong with it.
        source: FormatError,
    },
    /// A block device with a format inside.
    #[error("disk {0} is a block device: only raw disks are kept on one")]
    FormatOnDevice(PathBuf),
    /// The image says which file is behind it, but not how to read that one.
    #[error(
        "disk {path} names the backing file {backing} without saying whether that is raw or qcow2; \
         `yagura disk convert` makes an image without one, `qemu-img rebase -u -F raw|qcow2` states it"
    )]
    BackingFormat {
        /// The file.
        path: PathBuf,
        /// The file behind it.
        backing: String,
    },
    /// Images behind images without an end in sight.
    #[error("disk {path} has more than {limit} backing files behind it, or they lead back to themselves")]
    ChainTooLong {
        /// The first of them.
        path: PathBuf,
        /// Most files of a chain.
        limit: usize,
    },
    /// A file behind an image cannot be opened.
    #[error("backing file of disk {path}")]
    Backing {
        /// The image in front of it.
        path: PathBuf,
        /// What is wrong with the file behind it.
        source: Box<OpenError>,
    },
    /// Anything else.
    #[error("cannot {operation} disk {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl OpenError {
    /// Whether somebody else has the disk: later it may be free.
    pub fn is_in_use(&self) -> bool {
        matches!(self, OpenError::InUse { .. })
    }
}

/// What is said of a lock that somebody else holds.
fn in_use_hint(wanted: &LockKind) -> &'static str {
    match wanted {
        LockKind::Exclusive => "; it can be shared only if all attach it as readonly",
        LockKind::Shared => " that writes to it",
    }
}

/// Why a disk that is in use could not be made larger. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ResizeError {
    /// It is attached for reading.
    #[error("disk {0} is attached as readonly: it keeps its length")]
    ReadOnly(PathBuf),
    /// It would cut off data.
    #[error("disk {path} has {}; making it smaller would cut off what is at its end", Bytes(*there_bytes))]
    Shrink {
        /// The file.
        path: PathBuf,
        /// Its length, as a disk or as a file.
        there_bytes: u64,
    },
    /// Not whole blocks.
    #[error(
        "disk {path} has blocks of {block_bytes} bytes, and {size_bytes} bytes are not a multiple of that"
    )]
    BlockSize {
        /// The file.
        path: PathBuf,
        /// The length that was asked for.
        size_bytes: u64,
        /// The size of its blocks.
        block_bytes: u32,
    },
    /// A block device is as long as it is.
    #[error(
        "disk {path} is a block device of {there_bytes} bytes: enlarge it where it was made, and give that length then"
    )]
    Device {
        /// The device.
        path: PathBuf,
        /// Its length.
        there_bytes: u64,
    },
    /// The image cannot be larger, or is damaged.
    #[error("disk {path} cannot be enlarged")]
    Format {
        /// The file.
        path: PathBuf,
        /// Why.
        source: FormatError,
    },
    /// The host refused.
    #[error("disk {path} cannot be enlarged: {}", Trouble::of(.source).in_words())]
    Host {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl ResizeError {
    /// What the host refused, or what was found wrong with the image on the way.
    pub(crate) fn host(path: &Path, source: io::Error) -> ResizeError {
        let path = path.to_owned();
        match source.downcast::<FormatError>() {
            Ok(source) => ResizeError::Format { path, source },
            Err(source) => ResizeError::Host { path, source },
        }
    }
}

/// Why a disk that is in use could not be given back. It is in use as before.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// A device is still at it: a mistake of ours.
    #[error("disk {0} is still used by a device of the machine")]
    StillUsed(PathBuf),
    /// What was written could not be brought to stable storage.
    #[error("disk {path} cannot be given back: {}", Trouble::of(.source).in_words())]
    Flush {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}
