//! `yagura snapshot export`, `import`

use std::io::{self, IsTerminal};
use std::path::Path;

use host_sys::named_file::{Accepts, folder_of, open_named};
use host_sys::new_file::NewFile;
use messages::in_words;
use snapshot_archive::ArchiveError;
use snapshot_files::{SnapshotError, Snapshots};
use vm_control::FailureClass;
use yagura_vmm::say;

use super::arguments::{SnapshotExportArguments, SnapshotImportArguments};
use super::failed;
use crate::progress::Stages;
use crate::verbs::failure::{Failed, class_of_snapshot};

/// The name of standard input and output.
const STANDARD: &str = "-";

/// Writes a snapshot to a file.
pub fn export(snapshots: &Snapshots, arguments: &SnapshotExportArguments) -> Result<(), Failed> {
    let SnapshotExportArguments { id, target, mode } = arguments;
    let snapshot = snapshots.open(id).map_err(|error| failed(&error))?;
    let named = |error: &ArchiveError| Failed {
        class: class_of_archive(error),
        line: format!("snapshot {id} cannot be exported: {}", in_words(error)),
    };
    let mut stages = Stages::new();
    if target == Path::new(STANDARD) {
        let mut output = io::stdout().lock();
        if output.is_terminal() {
            return Err(host(
                "the archive is nothing to be read on a terminal; name a file, or write to a pipe",
            ));
        }
        // What is done for it beside has to be somewhere.
        let scratch = std::env::temp_dir();
        let written = snapshot_archive::export(&snapshot, &mut output, &scratch, &mut stages);
        written.map_err(|error| named(&error))?;
    } else {
        let cannot_make = |error: io::Error| host(&about(&error, target));
        let new = NewFile::create(target, mode.unwrap_or_default().bits()).map_err(cannot_make)?;
        let written = snapshot_archive::export(&snapshot, &mut new.file(), folder_of(target), &mut stages);
        written.map_err(|error| named(&error))?;
        new.keep().map_err(cannot_make)?;
    }
    stages.finish();
    Ok(())
}

/// Takes a snapshot out of a file.
pub fn import(snapshots: &Snapshots, arguments: &SnapshotImportArguments) -> Result<(), Failed> {
    let SnapshotImportArguments { source, id } = arguments;
    let mut stages = Stages::new();
    let imported = if source == Path::new(STANDARD) {
        let input = io::stdin().lock();
        if input.is_terminal() {
            return Err(host("an archive cannot be typed; name a file, or read from a pipe"));
        }
        snapshot_archive::import(snapshots, input, id.as_ref(), &mut stages)
    } else {
        let opened = open_named(source, Accepts::Stream);
        let opened = opened
            .map_err(|error| host(&format!("cannot open {}: {}", source.display(), in_words(&error))))?;
        snapshot_archive::import(snapshots, opened.file, id.as_ref(), &mut stages)
    };
    let snapshot = imported.map_err(|error| Failed {
        class: class_of_archive(&error),
        line: match &error {
            // It says which snapshot, and the file is not at fault.
            ArchiveError::Snapshot(error @ (SnapshotError::Exists(_) | SnapshotError::Busy(_))) => {
                in_words(error)
            }
            _ => format!("{} cannot be imported: {}", source.display(), in_words(&error)),
        },
    })?;
    stages.finish();
    say(&format!("snapshot {} is here", snapshot.record.id()));
    Ok(())
}

fn class_of_archive(error: &ArchiveError) -> FailureClass {
    match error {
        ArchiveError::Snapshot(error) => class_of_snapshot(error),
        _ => FailureClass::Host,
    }
}

fn host(line: &str) -> Failed {
    Failed { class: FailureClass::Host, line: line.to_owned() }
}

fn about(error: &io::Error, path: &Path) -> String {
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("{} exists already; remove it or give another name", path.display())
        }
        _ => format!("cannot make {}: {}", path.display(), in_words(error)),
    }
}
