//! Taking a snapshot out of an archive.

use std::collections::BTreeSet;
use std::io::{BufReader, Read};
use std::path::Path;

use messages::Watch;
use snapshot_files::{
    FileName, Keeping, RECORD, RECORD_BYTES_MAX, Record, Snapshot, SnapshotId, Snapshots, Staging,
};
use tar::Archive;
use vm_state::VmState;
use zstd::stream::read::Decoder;

use crate::disks::check_disks;
use crate::entries::{NamedEntry, PlainFiles, check_end};
use crate::sparse::{Room, SparseFile};
use crate::{ArchiveError, CHUNK_BYTES, Moved, step};

/// What a frame of zstd begins with (RFC 8878, 3.1.1).
const ZSTD: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();

/// Takes the snapshot out of an archive, under the name that it has, or another.
///
/// # Errors
/// There is one of that name, the archive is not to be believed in every respect, the host refuses, or nobody wants it any
/// more; then nothing is there.
pub fn import(
    snapshots: &Snapshots,
    input: impl Read,
    id: Option<&SnapshotId>,
    watch: &mut dyn Watch,
) -> Result<Snapshot, ArchiveError> {
    let mut input = BufReader::with_capacity(CHUNK_BYTES, input);
    let mut start = Vec::new();
    input.by_ref().take(ZSTD.len() as u64).read_to_end(&mut start).map_err(ArchiveError::damaged)?;
    if start != ZSTD {
        return Err(ArchiveError::NotAnArchive("it has to be a tar archive compressed with zstd"));
    }
    let decoder = Decoder::new(start.chain(input)).map_err(ArchiveError::damaged)?;
    import_tar(snapshots, decoder, id, watch)
}

/// As [`import`], of an archive that was decompressed.
///
/// # Errors
/// As there.
pub fn import_tar(
    snapshots: &Snapshots,
    input: impl Read,
    id: Option<&SnapshotId>,
    watch: &mut dyn Watch,
) -> Result<Snapshot, ArchiveError> {
    let mut archive = Archive::new(input);
    let (staging, record) = read(&mut archive, snapshots, id, watch)?;
    check_end(archive.into_inner())?;
    step(watch, &format!("looking at snapshot {}", record.id()))?;
    keep(staging, &record)
}

/// Reads an archive up to its end.
fn read(
    archive: &mut Archive<impl Read>,
    snapshots: &Snapshots,
    id: Option<&SnapshotId>,
    watch: &mut dyn Watch,
) -> Result<(Staging, Record), ArchiveError> {
    let mut files = PlainFiles::of(archive)?;
    let record = as_named(read_record(&mut files)?, id);
    let staging = snapshots.begin(&record.id())?;
    step(watch, &format!("reading snapshot {}", record.id()))?;
    unpack(&mut files, &record, staging.folder(), watch)?;
    Ok((staging, record))
}

/// The record, which comes first: whatever follows is held against it.
fn read_record(files: &mut PlainFiles<'_, impl Read>) -> Result<Record, ArchiveError> {
    let first = files.next()?;
    let Some(NamedEntry { size_bytes, mut data, .. }) =
        first.filter(|first| first.name.as_str() == RECORD && first.size_bytes <= RECORD_BYTES_MAX)
    else {
        return Err(ArchiveError::NotAnArchive("its first file has to be snapshot.json"));
    };
    let mut bytes = Vec::new();
    data.read_to_end(&mut bytes).map_err(ArchiveError::damaged)?;
    if bytes.len() as u64 != size_bytes {
        return Err(ArchiveError::damaged(std::io::ErrorKind::UnexpectedEof.into()));
    }
    let record = Record::from_json(Path::new(RECORD), &bytes)?;
    match &record.base {
        Some(_) => Err(ArchiveError::NotAnArchive("it has only what differs from another snapshot")),
        None => Ok(record),
    }
}

/// The record of what it becomes here.
fn as_named(mut record: Record, id: Option<&SnapshotId>) -> Record {
    if let Some(SnapshotId { vm, name }) = id {
        (record.vm, record.name) = (vm.clone(), name.clone());
    }
    // Whoever brings back what has expired elsewhere wants to have it.
    record.expires_s = None;
    record.disks.iter_mut().for_each(|disk| disk.kept = Keeping::Copied);
    record
}

/// Writes each file of the record, once, and none else.
fn unpack(
    files: &mut PlainFiles<'_, impl Read>,
    record: &Record,
    folder: &Path,
    watch: &mut dyn Watch,
) -> Result<(), ArchiveError> {
    let mut missing: BTreeSet<&FileName> = record.files.iter().map(|file| &file.name).collect();
    let all_bytes = record.files.iter().fold(0u64, |all, file| all.saturating_add(file.size_bytes));
    let mut moved = Moved { watch, done_bytes: 0, all_bytes };
    let mut room = Room::of(folder);
    while let Some(entry) = files.next()? {
        let refused = |why| Err(ArchiveError::entry(entry.name.as_str(), why));
        let Some(kept) = record.files.iter().find(|file| file.name == entry.name) else {
            return refused("is not in its record");
        };
        if !missing.remove(&kept.name) {
            return refused("is there twice");
        }
        if entry.size_bytes != kept.size_bytes {
            return refused("is not as long as its record has it");
        }
        unpack_one(entry, folder, &mut room, &mut moved)?;
    }
    match missing.first() {
        Some(name) => Err(ArchiveError::Missing(name.to_string())),
        None => Ok(()),
    }
}

fn unpack_one(
    NamedEntry { name, size_bytes, mut data }: NamedEntry<'_, impl Read>,
    folder: &Path,
    room: &mut Room,
    moved: &mut Moved<'_>,
) -> Result<(), ArchiveError> {
    let path = folder.join(name.as_str());
    let file = SparseFile::create(&path, size_bytes)?;
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    let mut at = 0;
    while at < size_bytes {
        chunk.clear();
        let count = data.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut chunk);
        let count = count.map_err(ArchiveError::damaged)? as u64;
        if count == 0 {
            return Err(ArchiveError::damaged(std::io::ErrorKind::UnexpectedEof.into()));
        }
        file.write(&chunk, at, room)?;
        at += count;
        moved.tell(count).map_err(ArchiveError::damaged)?;
    }
    file.sync()
}

/// Gives the snapshot its name when all of it was looked at.
fn keep(staging: Staging, record: &Record) -> Result<Snapshot, ArchiveError> {
    staging.write_record(record)?;
    let snapshot = Snapshot::at(staging.folder())?;
    snapshot.verify()?;
    let state = VmState::from_bytes(&snapshot.state()?)?;
    snapshot.check_machine(&state.blueprint, &snapshot.ram_index()?)?;
    check_disks(&snapshot)?;
    Ok(staging.keep()?)
}
