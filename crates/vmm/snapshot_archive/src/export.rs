//! Writing a snapshot to an archive.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use messages::Watch;
use snapshot_files::{FileName, KeptFile, RECORD, Record, Snapshot};
use tar::{Builder, EntryType, Header};
use zstd::stream::write::Encoder;

use crate::disks::flatten_disks;
use crate::error::Cancelled;
use crate::ram::flatten_ram;
use crate::{ArchiveError, Moved, step};

/// Fast, and most of what can be had.
const LEVEL: i32 = 1;
/// Whoever unpacks it with other tools is to be the only one who reads it.
const MODE: u32 = 0o600;

/// A snapshot on its way into an archive.
struct Contents {
    record: Record,
    files: Vec<(KeptFile, File)>,
}

/// Writes a snapshot, after all of it was looked at. Disks that build upon other files are first written to `scratch`, as
/// files without names, which needs room there. `output` is not brought to stable storage.
///
/// # Errors
/// The snapshot is damaged, the host refuses, or nobody wants it any more; then `output` holds a part of an archive.
pub fn export(
    snapshot: &Snapshot,
    output: &mut impl Write,
    scratch: &Path,
    watch: &mut dyn Watch,
) -> Result<(), ArchiveError> {
    let id = snapshot.record.id();
    step(watch, &format!("looking at snapshot {id}"))?;
    snapshot.verify()?;
    let contents = Contents::open(snapshot, scratch, watch)?;
    step(watch, &format!("writing snapshot {id}"))?;
    let mut encoder = Encoder::new(output, LEVEL).map_err(ArchiveError::write)?;
    encoder.include_checksum(true).map_err(ArchiveError::write)?;
    contents.write(&mut encoder, watch)?;
    encoder.finish().and_then(|output| output.flush()).map_err(ArchiveError::write)
}

impl Contents {
    /// Opens its files: whatever becomes of the snapshot's folder meanwhile, they are those.
    fn open(snapshot: &Snapshot, scratch: &Path, watch: &mut dyn Watch) -> Result<Contents, ArchiveError> {
        let mut record = snapshot.record.clone();
        let mut flat = flatten_disks(snapshot, &mut record, scratch, watch)?;
        if record.base.is_some() {
            flat.extend(flatten_ram(snapshot, &mut record, scratch, watch)?);
        }
        keep_what_is_used(&mut record);
        let mut files = Vec::new();
        for kept in &mut record.files {
            let file = match flat.iter().find(|(name, _)| *name == kept.name) {
                Some((_, file)) => file.try_clone().map_err(ArchiveError::io("open", scratch))?,
                None => snapshot.open_file(&kept.name)?,
            };
            let metadata =
                file.metadata().map_err(ArchiveError::io("look at", &snapshot.path(&kept.name)))?;
            kept.size_bytes = metadata.len();
            files.push((kept.clone(), file));
        }
        Ok(Contents { record, files })
    }

    fn write(&self, output: &mut impl Write, watch: &mut dyn Watch) -> Result<(), ArchiveError> {
        let all_bytes = self.files.iter().map(|(kept, _)| kept.size_bytes).sum();
        let mut moved = Moved { watch, done_bytes: 0, all_bytes };
        let json = self.record.to_json().map_err(|error| ArchiveError::write(error.into()))?;
        let mut archive = Builder::new(output);
        let record_bytes = json.len() as u64;
        append(&mut archive, RECORD, record_bytes, self.record.created_s, &mut &json[..])?;
        for (KeptFile { name, size_bytes, .. }, file) in &self.files {
            let mut data = Data { file, left_bytes: *size_bytes, moved: &mut moved };
            append(&mut archive, name.as_str(), *size_bytes, self.record.created_s, &mut data)?;
        }
        archive.into_inner().map_err(ArchiveError::write)?;
        Ok(())
    }
}

/// A file that only a disk has used which does not need it any more stays behind.
fn keep_what_is_used(record: &mut Record) {
    let others: BTreeSet<FileName> = record.named().cloned().collect();
    let own = [snapshot_files::STATE, snapshot_files::RAM, snapshot_files::RAM_INDEX];
    record.files.retain(|file| others.contains(&file.name) || own.contains(&file.name.as_str()));
}

fn append(
    archive: &mut Builder<&mut impl Write>,
    name: &str,
    size_bytes: u64,
    created_s: u64,
    data: &mut dyn Read,
) -> Result<(), ArchiveError> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_path(name).map_err(ArchiveError::write)?;
    header.set_size(size_bytes);
    header.set_mode(MODE);
    header.set_mtime(created_s);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    archive.append(&header, data).map_err(ArchiveError::write)
}

/// So many bytes of a file. One that is shorter is an error, as all that follows would be elsewhere than it is said to be.
struct Data<'d, 'w> {
    file: &'d File,
    left_bytes: u64,
    moved: &'d mut Moved<'w>,
}

impl Read for Data<'_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if self.moved.watch.is_cancelled() {
            return Err(io::Error::other(Cancelled));
        }
        let wanted = bytes.len().min(usize::try_from(self.left_bytes).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Ok(0);
        }
        match self.file.read(&mut bytes[..wanted])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.left_bytes -= count as u64;
                self.moved.tell(count as u64)?;
                Ok(count)
            }
        }
    }
}
