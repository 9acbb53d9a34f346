//! Why a snapshot cannot be made, found or believed.

use std::io;
use std::path::PathBuf;

use vm_spec::VmName;

use crate::ram::RamError;
use crate::{SnapshotId, SnapshotName};

/// What is wrong with a snapshot, or with making one. One line for a person.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Nothing of that name.
    #[error("VM {} has no snapshot {}{suggestion}", .id.vm, .id.name)]
    Missing {
        /// What was asked for.
        id: SnapshotId,
        /// What was probably meant, or how to see what there is.
        suggestion: String,
    },
    /// The name is taken.
    #[error("snapshot {0} exists already; delete it, or give the new one another name")]
    Exists(SnapshotId),
    /// Somebody else makes or removes one now.
    #[error("another command is making or removing a snapshot of VM {0}; wait until it has ended")]
    Busy(VmName),
    /// Disks of others build upon it.
    #[error("snapshot {id} cannot be removed: {user}")]
    Used {
        /// Which snapshot.
        id: SnapshotId,
        /// Who uses it, and what to do.
        user: String,
    },
    /// What it builds upon is not there.
    #[error("snapshot {id} builds upon {base}, {why}")]
    Base {
        /// Which snapshot.
        id: SnapshotId,
        /// What it builds upon.
        base: SnapshotId,
        /// What is wrong.
        why: &'static str,
    },
    /// More build upon one another than is borne.
    #[error("snapshot {id} would build upon more than {} others; 'yagura snapshot flatten' makes one of them whole by itself", most - 1)]
    Deep {
        /// Which snapshot.
        id: SnapshotId,
        /// How many there may be, with itself.
        most: usize,
    },
    /// Nobody wants it any more.
    #[error("it was cancelled; everything is as it was")]
    Cancelled,
    /// The record is none.
    #[error("{path} is no record of a snapshot: {why}")]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A newer program wrote it.
    #[error(
        "snapshot {name} was written by {program}, in version {found}; this program reads version {reads}, use a newer one"
    )]
    Version {
        /// Which snapshot.
        name: String,
        /// Who wrote it.
        program: String,
        /// Its version.
        found: u32,
        /// The version that is read.
        reads: u32,
    },
    /// It was taken on another architecture.
    #[error("snapshot {name} is of a machine of architecture {found}, and this one is {own}")]
    Architecture {
        /// Which snapshot.
        name: SnapshotName,
        /// Its architecture.
        found: String,
        /// This program's.
        own: &'static str,
    },
    /// The folder holds another one's record.
    #[error("the folder {path} holds snapshot {found}; it was renamed or copied by hand")]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// What it is by its record.
        found: SnapshotId,
    },
    /// A file is missing, or not as long as it was.
    #[error("{path} has {found} bytes and should have {expected}; the snapshot was not copied whole")]
    Length {
        /// The file.
        path: PathBuf,
        /// Its bytes.
        found: u64,
        /// What the record tells of.
        expected: u64,
    },
    /// A file is not what was written.
    #[error("{0} is damaged: its checksum is another one")]
    Damaged(PathBuf),
    /// State, RAM and record are not of one machine.
    #[error("snapshot {id} is of several machines: {what}")]
    Mixed {
        /// Which snapshot.
        id: SnapshotId,
        /// What does not go together.
        what: &'static str,
    },
    /// RAM.
    #[error("snapshot {name}: {source}")]
    Ram {
        /// Which snapshot.
        name: SnapshotName,
        /// What is wrong.
        source: RamError,
    },
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
}

impl SnapshotError {
    /// Wraps what the host answered.
    pub(crate) fn io(
        operation: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(io::Error) -> SnapshotError {
        let path = path.to_owned();
        move |source| SnapshotError::Io { path, operation, source }
    }
}
