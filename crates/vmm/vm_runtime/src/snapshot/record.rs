//! The small files of a snapshot, and the record, which is written last.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use snapshot_files::{FileName, KeptBase, KeptCard, KeptDisk, KeptFile, RECORD, Record, Snapshot, now_s};
use vm_control::{SnapshotOrder, SnapshotTaken};

use super::SnapshotFailure;
use super::boot_files::BootCopies;
use super::take::{TakeJob, file_name};

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// The record of what was made.
pub(super) fn kept(
    job: &TakeJob,
    base: Option<&Snapshot>,
    boot: BootCopies,
    disks: Vec<KeptDisk>,
    files: Vec<KeptFile>,
    taken: &SnapshotTaken,
) -> Result<Record, SnapshotFailure> {
    let SnapshotOrder { folder: _, vm, name, uuid, description, expires_s, compress, base: _ } = &job.order;
    let spec = &job.spec;
    let (_, program, architecture) = Record::writer();
    let base = base.map(|base| KeptBase { name: base.record.name.clone(), uuid: base.record.uuid.clone() });
    let cards = spec.nic_ids().into_iter().zip(&spec.nets);
    Ok(Record {
        version: Record::version_for(base.as_ref()),
        program,
        architecture,
        name: name.parse()?,
        vm: vm.parse()?,
        uuid: uuid.clone(),
        created_s: now_s(),
        description: description.clone(),
        expires_s: *expires_s,
        engine: job.engine.to_owned(),
        cpus: spec.cpus.get(),
        memory_bytes: spec.memory.bytes(),
        ram_bytes: taken.ram_bytes,
        base,
        compressed: *compress,
        pause_us: taken.pause_us,
        boot: boot.boot,
        disks,
        cards: cards.map(|(id, net)| KeptCard { id, tap: net.tap.clone(), queues: net.queues }).collect(),
        virtio_console: spec.virtio_console.is_some(),
        merge: spec.merge,
        on_reset: spec.on_reset,
        on_panic: spec.on_panic,
        files,
    })
}

pub(super) fn write_record(folder: &Path, record: &Record) -> Result<(), SnapshotFailure> {
    let path = folder.join(RECORD);
    let bytes = record.to_json().map_err(|error| SnapshotFailure::io("write", &path)(error.into()))?;
    write_synced(folder, RECORD, &bytes).map(drop)
}

/// Writes a file that is not there yet.
pub(super) fn write_synced(folder: &Path, name: &str, bytes: &[u8]) -> Result<KeptFile, SnapshotFailure> {
    let path = folder.join(name);
    let failed = |operation| SnapshotFailure::io(operation, &path);
    let mut file = File::options().write(true).create_new(true).open(&path).map_err(failed("make"))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed("write"))?;
    let crc32c = Some(crc32c::crc32c(bytes));
    Ok(KeptFile { name: file_name(name)?, size_bytes: bytes.len() as u64, crc32c })
}

/// Brings a file to stable storage; it with its checksum.
pub(super) fn sum_and_sync(file: &File, path: &Path, name: FileName) -> Result<KeptFile, SnapshotFailure> {
    let failed = |operation| SnapshotFailure::io(operation, path);
    let size_bytes = file.metadata().map_err(failed("look at"))?.len();
    let (mut sum, mut at) = (0, 0);
    let mut chunk = vec![0; CHUNK_BYTES];
    while at < size_bytes {
        let now = CHUNK_BYTES.min(usize::try_from(size_bytes - at).unwrap_or(CHUNK_BYTES));
        file.read_exact_at(&mut chunk[..now], at).map_err(failed("read"))?;
        sum = crc32c::crc32c_append(sum, &chunk[..now]);
        at += now as u64;
    }
    file.sync_all().map_err(failed("write"))?;
    Ok(KeptFile { name, size_bytes, crc32c: Some(sum) })
}
