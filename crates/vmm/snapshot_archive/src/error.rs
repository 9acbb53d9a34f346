//! Why a snapshot was not written to an archive, or not taken out of one.

use std::io;
use std::path::{Path, PathBuf};

use messages::Bytes;
use snapshot_files::SnapshotError;
use vm_state::StateError;

/// What is wrong with an archive, or with making one. One line for a person.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is something else.
    #[error("it is no archive of a snapshot: {0}")]
    NotAnArchive(&'static str),
    /// It was cut, or changed.
    #[error("the archive was cut or is damaged")]
    Damaged(#[source] io::Error),
    /// A file in it is not what its record tells of.
    #[error("the archive is not to be believed: {name} {why}")]
    Entry {
        /// The file, as the archive names it.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
    /// Files are missing.
    #[error("the archive ends before {0}, which its record tells of")]
    Missing(String),
    /// There is more in it than a snapshot.
    #[error("something follows in the archive behind the snapshot")]
    TooLong,
    /// The file system is too full.
    #[error("there is no room for the snapshot: {folder} has {} left; remove something, or set YAGURA_DIR to a folder elsewhere", Bytes(*free))]
    NoRoom {
        /// Where it was to be.
        folder: PathBuf,
        /// What there is.
        free: u64,
    },
    /// A disk.
    #[error(transparent)]
    Disk(Box<disk::OfflineError>),
    /// The snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Its state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The host refused.
    #[error("cannot {operation} {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The archive cannot be written.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
    /// Nobody wants it any more.
    #[error("it was cancelled; nothing of it is left")]
    Cancelled,
}

/// Nobody wants it any more: the inner error of an [`io::Error`] that came through a library.
#[derive(Debug, thiserror::Error)]
#[error("it was cancelled")]
pub(crate) struct Cancelled;

fn is_cancelled(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Cancelled>())
}

impl ArchiveError {
    /// Wraps what the host answered.
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ArchiveError {
        let path = path.to_owned();
        move |source| match is_cancelled(&source) {
            true => ArchiveError::Cancelled,
            false => ArchiveError::Io { path, operation, source },
        }
    }

    /// What came of reading an archive.
    pub(crate) fn damaged(source: io::Error) -> ArchiveError {
        if is_cancelled(&source) { ArchiveError::Cancelled } else { ArchiveError::Damaged(source) }
    }

    /// What came of writing one.
    pub(crate) fn write(source: io::Error) -> ArchiveError {
        if is_cancelled(&source) { ArchiveError::Cancelled } else { ArchiveError::Write(source) }
    }

    /// What is wrong with a disk.
    pub(crate) fn disk(source: disk::OfflineError) -> ArchiveError {
        match source {
            disk::OfflineError::Cancelled => ArchiveError::Cancelled,
            source => ArchiveError::Disk(Box::new(source)),
        }
    }

    /// What is wrong with a file in an archive.
    pub(crate) fn entry(name: &str, why: &'static str) -> ArchiveError {
        let name = messages::one_line(&messages::shortened(name, 80));
        ArchiveError::Entry { name, why }
    }
}
