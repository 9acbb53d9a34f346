//! Why a snapshot was not made, or the machine did not go back to one.

use std::io;
use std::path::{Path, PathBuf};

use messages::Bytes;
use snapshot_files::ram::RamError;
use snapshot_files::{SnapshotError, SnapshotId};
use vm_spec::blueprint::Misfit;
use vm_spec::{BadValue, DeviceId};
use vm_state::StateError;

/// What is in the way of a snapshot. One line for a person.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotFailure {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Order(#[from] BadValue),
    /// A block device has no file that could be copied.
    #[error(
        "disk {0} is a block device, which a snapshot cannot keep; snapshot it where it is made, and stop the VM for that"
    )]
    BlockDevice(PathBuf),
    /// The file system is too full.
    #[error("there is no room for the snapshot: it takes about {}, and {folder} has {}; remove something, or set YAGURA_DIR to a folder elsewhere", Bytes(*needed), Bytes(*free))]
    NoRoom {
        /// Where it is to be.
        folder: PathBuf,
        /// What it takes.
        needed: u64,
        /// What there is.
        free: u64,
    },
    /// The machine was reset, or has ended.
    #[error("the machine was reset or has ended meanwhile")]
    Gone,
    /// A disk or card was detached while the snapshot was made, or seen to.
    #[error("a disk or card has left the machine meanwhile; try again")]
    Changed,
    /// The machine has a device more.
    #[error("the machine has {0} now, which the snapshot knows nothing of; detach it first")]
    Extra(DeviceId),
    /// What it was to build upon has other RAM.
    #[error("snapshot {0} is of a machine with more or less RAM than this one has now; leave out --base")]
    OtherRam(SnapshotId),
    /// Whoever asked went away.
    #[error("whoever asked for it does not wait any more")]
    Unwanted,
    /// The machine cannot be stopped or saved.
    #[error("{0}")]
    Machine(String),
    /// What is behind a disk cannot be found or named.
    #[error("disk {path}: {source}")]
    Disk {
        /// The disk.
        path: PathBuf,
        /// What is wrong.
        source: Box<disk::OfflineError>,
    },
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// The RAM.
    #[error(transparent)]
    Ram(#[from] RamError),
    /// The snapshot's files.
    #[error(transparent)]
    Files(#[from] SnapshotError),
    /// The machine has other devices.
    #[error("the machine is not the one of the snapshot: {0}")]
    Misfit(#[from] Misfit),
    /// A disk is in another format.
    #[error("disk {0} has another format than it had in the snapshot")]
    Format(DeviceId),
    /// RAM cannot be had.
    #[error(transparent)]
    Memory(#[from] machine::BuildError),
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

impl SnapshotFailure {
    /// Wraps what the host answered.
    pub(super) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SnapshotFailure {
        let path = path.to_owned();
        move |source| SnapshotFailure::Io { path, operation, source }
    }
}
