//! RAM in archives: all of it, whatever a snapshot builds upon.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;

use host_sys::new_file::nameless;
use messages::{Watch, progress_of};
use snapshot_files::{FileName, RAM, RAM_INDEX, Record, Snapshot, SnapshotError};

use crate::{ArchiveError, step};

/// Writes all of a snapshot's RAM, and the index of that, to files without names in `scratch`. `record` is changed to tell of
/// those.
pub(crate) fn flatten_ram(
    snapshot: &Snapshot,
    record: &mut Record,
    scratch: &Path,
    watch: &mut dyn Watch,
) -> Result<[(FileName, File); 2], ArchiveError> {
    step(watch, "joining memory with what it builds upon")?;
    let make = || nameless(scratch).map_err(ArchiveError::io("make a file in", scratch));
    let (ram, beside) = (make()?, make()?);
    let index =
        snapshot.flatten_ram(&ram, &beside, &mut progress_of(watch)).map_err(|error| match error {
            SnapshotError::Cancelled => ArchiveError::Cancelled,
            error => error.into(),
        })?;
    let bytes = index.to_bytes().map_err(|source| snapshot.ram_error(source))?;
    let mut index_file = make()?;
    let written = index_file.write_all(&bytes).and_then(|()| index_file.rewind());
    written.map_err(ArchiveError::io("write to", scratch))?;
    *record = record.flattened(&index);
    let listed = |name: &str| record.files.iter().position(|file| file.name.as_str() == name);
    let (Some(ram_at), Some(index_at)) = (listed(RAM), listed(RAM_INDEX)) else {
        return Err(ArchiveError::Missing(RAM.to_owned()));
    };
    record.files[index_at].crc32c = Some(crc32c::crc32c(&bytes));
    let name = |at: usize| record.files[at].name.clone();
    Ok([(name(ram_at), ram), (name(index_at), index_file)])
}
