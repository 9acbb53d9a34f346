//! What can go wrong with a file system.

use std::io;

use messages::Bytes;

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// The disk did not give its bytes.
    #[error("the disk could not be read: {0}")]
    Read(#[source] io::Error),
    /// What was read could not be written where it should go.
    #[error("what was read could not be written: {0}")]
    Write(#[source] io::Error),
    /// There is nothing of that name.
    #[error("there is no such file")]
    NotFound,
    /// A part of a path is no directory, or what should be listed is none.
    #[error("it is not a directory")]
    NotADirectory,
    /// What should be read is a directory, a device node, a socket.
    #[error("it is not a regular file")]
    NotAFile,
    /// Symbolic links that lead to one another.
    #[error("too many symbolic links lead on from it")]
    TooManyLinks,
    /// More than the caller wants.
    #[error("it has {}, more than the {} that are read", Bytes(*size_bytes), Bytes(*limit_bytes))]
    TooLarge {
        /// What it claims to have.
        size_bytes: u64,
        /// What the caller allowed.
        limit_bytes: u64,
    },
    /// A directory with more entries than the caller wants.
    #[error("the directory has more than {0} entries")]
    TooManyEntries(usize),
    /// The structures contradict themselves.
    #[error("the file system is damaged: {0}")]
    Damaged(&'static str),
    /// The same, in the words of the library that reads this file system.
    #[error("the file system is damaged: {0}")]
    DamagedAs(String),
    /// A sound file system that uses something that is not read here.
    #[error("the file system uses {0}, which is not supported")]
    Unsupported(String),
}

impl From<io::Error> for FsError {
    fn from(error: io::Error) -> FsError {
        FsError::Read(error)
    }
}
