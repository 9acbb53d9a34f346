//! `yagura snapshot create`

use anyhow::Context;
use messages::Bytes;
use snapshot_files::{Snapshot, SnapshotId, Snapshots, now_s};
use vm_client::ClientError;
use vm_control::{SnapshotOrder, SnapshotTaken};
use yagura_vmm::say;

use super::arguments::CreateArguments;
use super::{failed, show};
use crate::print::print;
use crate::verbs::Running;
use crate::verbs::failure::Failed;

/// A version 4 UUID at each read (random(4)).
const UUIDS: &str = "/proc/sys/kernel/random/uuid";

/// Has a running VM write a snapshot, and gives it its name.
pub fn create(snapshots: &Snapshots, arguments: &CreateArguments) -> anyhow::Result<Result<(), Failed>> {
    let CreateArguments { name, snapshot, json, .. } = arguments;
    let id = SnapshotId { vm: name.clone(), name: snapshot.clone() };
    let uuid = std::fs::read_to_string(UUIDS).with_context(|| format!("cannot read {UUIDS}"))?;
    let (taken, snapshot) = match take(snapshots, &id, uuid.trim(), arguments) {
        Ok(made) => made,
        Err(failed) => return Ok(Err(failed)),
    };
    if arguments.base.is_some() && snapshot.record.base.is_none() {
        say(&format!(
            "snapshot {id}: all of its memory was kept, as the VM runs in a version that knows no --base"
        ));
    }
    taken.notes.iter().for_each(|note| say(&format!("snapshot {id}: {note}")));
    if *json {
        print(&show::in_json(&snapshot)?)?;
    } else {
        let (ram, tenths) = (Bytes(taken.ram_bytes), taken.pause_us / 100);
        print(&format!(
            "snapshot {id}: {ram} of memory, the guest stood still for {}.{} ms",
            tenths / 10,
            tenths % 10
        ))?;
    }
    Ok(Ok(()))
}

fn take(
    snapshots: &Snapshots,
    id: &SnapshotId,
    uuid: &str,
    arguments: &CreateArguments,
) -> Result<(SnapshotTaken, Snapshot), Failed> {
    let running = Running::here();
    let vm = running.client(&id.vm);
    let refused = |error: ClientError| running.failed(&id.vm, &error);
    // Before a folder is made for a VM that is not there.
    vm.status().map_err(refused)?;
    let base = arguments.base.clone().map(|name| SnapshotId { vm: id.vm.clone(), name });
    if let Some(base) = &base {
        snapshots.open(base).map_err(|error| failed(&error))?;
    }
    remove_expired(snapshots, id, base.as_ref())?;
    let staging = snapshots.begin(id).map_err(|error| failed(&error))?;
    let order = SnapshotOrder {
        folder: staging.folder().display().to_string(),
        vm: id.vm.to_string(),
        name: id.name.to_string(),
        uuid: uuid.to_owned(),
        description: arguments.description.clone(),
        expires_s: arguments.expires.map(|seconds| now_s().saturating_add(seconds)),
        compress: arguments.compress,
        base: arguments.base.as_ref().map(ToString::to_string),
    };
    let taken = vm.snapshot(&order).map_err(refused)?;
    Ok((taken, staging.keep().map_err(|error| failed(&error))?))
}

/// Those of the VM's snapshots that nobody wants to keep any longer go first: there may be no room before.
fn remove_expired(snapshots: &Snapshots, id: &SnapshotId, base: Option<&SnapshotId>) -> Result<(), Failed> {
    let expired = snapshots.expired(&id.vm, now_s()).map_err(|error| failed(&error))?;
    // What is built upon is wanted still.
    for expired in expired.into_iter().filter(|expired| Some(expired) != base) {
        match snapshots.delete(&expired) {
            Ok(()) => say(&format!("snapshot {expired} had expired and was removed")),
            Err(error) => say(&format!("snapshot {expired} has expired and stays: {}", failed(&error).line)),
        }
    }
    Ok(())
}
