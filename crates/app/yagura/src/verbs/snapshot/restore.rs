//! `yagura snapshot restore`

use snapshot_files::{SnapshotId, Snapshots};
use vm_control::RestoreOrder;

use super::arguments::RestoreArguments;
use super::failed;
use crate::verbs::Running;
use crate::verbs::failure::Failed;

/// Has a running VM go back to a snapshot.
pub fn restore(snapshots: &Snapshots, arguments: &RestoreArguments) -> Result<(), Failed> {
    let RestoreArguments { name, snapshot } = arguments;
    let id = SnapshotId { vm: name.clone(), name: snapshot.clone() };
    let snapshot = snapshots.open(&id).map_err(|error| failed(&error))?;
    let running = Running::here();
    let order = RestoreOrder { folder: snapshot.folder().display().to_string() };
    running.client(name).restore(&order).map_err(|error| running.failed(name, &error))
}
