//! Disks in archives: they name no other file.

use std::fs::File;
use std::path::Path;

use disk::RawContents;
use messages::{Watch, progress_of};
use snapshot_files::{FileName, Record, Snapshot};
use vm_spec::DiskFormat;

use crate::{ArchiveError, step};

/// Copies each disk that builds upon another file to one that builds upon nothing, in a file without a name in `scratch`.
/// `record` is changed to tell of those.
pub(crate) fn flatten_disks(
    snapshot: &Snapshot,
    record: &mut Record,
    scratch: &Path,
    watch: &mut dyn Watch,
) -> Result<Vec<(FileName, File)>, ArchiveError> {
    let mut flat = Vec::new();
    for disk in record.disks.iter_mut().filter(|disk| disk.backing.is_some()) {
        step(watch, &format!("joining disk {} with what it builds upon", disk.id))?;
        let file =
            host_sys::new_file::nameless(scratch).map_err(ArchiveError::io("make a file in", scratch))?;
        let joined = disk::flatten(&snapshot.path(&disk.file), &file, scratch, progress_of(watch));
        joined.map_err(ArchiveError::disk)?;
        disk.backing = None;
        flat.push((disk.file.clone(), file));
    }
    Ok(flat)
}

/// Whether no disk of a snapshot that somebody else has written names a file: as it is opened, it would be read, whosever it
/// is.
pub(crate) fn check_disks(snapshot: &Snapshot) -> Result<(), ArchiveError> {
    for disk in &snapshot.record.disks {
        let name = disk.file.as_str();
        if disk.backing.is_some() {
            return Err(ArchiveError::entry(name, "builds upon another file, by the record"));
        }
        if disk.format == DiskFormat::Raw {
            continue;
        }
        let info = disk::info(&snapshot.path(&disk.file), disk.format, RawContents::Any);
        let info = info.map_err(ArchiveError::disk)?;
        if info.qcow2.is_some_and(|qcow2| qcow2.backing.is_some()) {
            return Err(ArchiveError::entry(name, "builds upon another file"));
        }
    }
    Ok(())
}
