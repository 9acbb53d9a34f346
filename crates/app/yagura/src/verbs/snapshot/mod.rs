//! `yagura snapshot create`, `list`, `info`, `delete`, `restore`, `flatten`, `export`, `import`, `yagura run --restore` and `yagura clone`.
//!
//! ```text
//! create ─► Staging (a folder, locked) ─► the VM's process writes to it ─► Staging::keep gives it its name
//! restore ─► the VM's process reads the snapshot, and goes back
//! export, import ─► a file with all of a snapshot ─► Staging
//! run --restore ─► Restored (a folder, overlays on the snapshot's disks) ─► Order ─► a VM's process
//! clone ─► the same for each VM, in a process of its own ─► its cards are exchanged for such with addresses of their own
//! ```

mod archive;
pub mod arguments;
mod clone;
mod create;
mod identity;
mod new_vm;
mod restore;
mod show;

use messages::{Watch, in_words, progress_of};
use snapshot_files::{SnapshotError, Snapshots};
use yagura_vmm::say;

use super::failure::{Failed, class_of_snapshot};
use crate::images::data_folder;
use crate::progress::Stages;
use arguments::{SnapshotCommand, SnapshotDeleteArguments, SnapshotFlattenArguments};

pub use clone::clone;
pub use new_vm::{Source, forget_restored};

/// Does what was asked for; the exit status.
pub fn run(command: &SnapshotCommand) -> anyhow::Result<u8> {
    let snapshots = Snapshots::new(&data_folder()?);
    let done = match command {
        SnapshotCommand::Create(arguments) => create::create(&snapshots, arguments)?,
        SnapshotCommand::List(arguments) => show::list(&snapshots, arguments)?,
        SnapshotCommand::Info(arguments) => show::info(&snapshots, arguments)?,
        SnapshotCommand::Delete(arguments) => delete(&snapshots, arguments),
        SnapshotCommand::Restore(arguments) => restore::restore(&snapshots, arguments),
        SnapshotCommand::Flatten(arguments) => flatten(&snapshots, arguments),
        SnapshotCommand::Export(arguments) => archive::export(&snapshots, arguments),
        SnapshotCommand::Import(arguments) => archive::import(&snapshots, arguments),
    };
    Ok(done.map_or_else(|failed| failed.tell(), |()| 0))
}

fn delete(snapshots: &Snapshots, arguments: &SnapshotDeleteArguments) -> Result<(), Failed> {
    let mut first = Ok(());
    for id in &arguments.ids {
        if let Err(error) = snapshots.delete(id) {
            match first {
                Ok(()) => first = Err(failed(&error)),
                Err(_) => say(&failed(&error).line),
            }
        }
    }
    first
}

fn flatten(snapshots: &Snapshots, arguments: &SnapshotFlattenArguments) -> Result<(), Failed> {
    let mut stages = Stages::new();
    for id in &arguments.ids {
        stages.stage(&format!("making snapshot {id} whole by itself"));
        let done = snapshots.flatten(id, &mut progress_of(&mut stages));
        if !done.map_err(|error| failed(&error))? {
            stages.note(&format!("snapshot {id} builds upon no other one"));
        }
    }
    stages.finish();
    Ok(())
}

/// Why something could not be done with a snapshot.
fn failed(error: &SnapshotError) -> Failed {
    Failed { class: class_of_snapshot(error), line: in_words(error) }
}
