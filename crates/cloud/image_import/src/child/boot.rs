//! What a disk boots with.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::rc::Rc;

use foreign_disks::DiskReader;
use guest_files::{FsError, OsRelease, ReadAt, RootFs, find_boot};
use image_model::Architecture;
use messages::in_words;

use crate::inputs::{Boot, BootRoot};
use crate::limits::Limits;
use crate::position::PositionWriter;
use crate::wire::Answered;

/// Bytes that are written at once.
const CHUNK_BYTES: usize = 1 << 20;

/// A disk, for who reads file systems.
pub(super) struct Disk(pub(super) DiskReader);

impl ReadAt for Disk {
    fn len_bytes(&self) -> u64 {
        self.0.len_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset_bytes, buffer)
    }
}

/// Finds what boots, and writes the kernel and the initial RAM disks.
pub(super) fn read(
    disk: DiskReader,
    architecture: Architecture,
    once_done: Option<&str>,
    (kernel, initrd): (File, File),
    limits: &Limits,
) -> Answered<Boot> {
    let name = disk.name().display().to_string();
    let bad = |what: &str, error: &dyn std::error::Error| format!("disk {name}{what}: {}", in_words(error));
    let found = find_boot(Rc::new(Disk(disk)), architecture, once_done).map_err(|error| bad("", &error))?;
    let kernel_bytes = written(kernel, limits.kernel_bytes, |out| found.write_kernel(out))
        .map_err(|error| bad(&format!(", kernel {}", found.kernel), &error))?;
    let initrd_bytes = written(initrd, limits.initrd_bytes, |out| found.write_initrd(out))
        .map_err(|error| bad(", initial RAM disk", &error))?;
    Ok(Boot {
        kernel_bytes,
        initrd_bytes,
        cmdline: found.cmdline.clone(),
        kernel_path: found.kernel.to_string(),
        chosen_by: found.chosen_by.clone(),
        notes: found.notes.clone(),
        os_release: found.os_release.as_ref().map(os_release).unwrap_or_default(),
        root: found.root.as_ref().map(root),
        next_entry: found.next_entry.clone(),
    })
}

/// Has something written to a file, up to a limit; how many bytes that were.
fn written(
    file: File,
    limit_bytes: u64,
    write: impl FnOnce(&mut dyn Write) -> Result<u64, FsError>,
) -> Result<u64, FsError> {
    let mut out = BufWriter::with_capacity(CHUNK_BYTES, PositionWriter::new(file, limit_bytes));
    let bytes = write(&mut out)?;
    out.flush().map_err(FsError::Write)?;
    Ok(bytes)
}

fn os_release(release: &OsRelease) -> Vec<(String, String)> {
    let OsRelease { id, version_id, version_codename, name, pretty_name, id_like } = release;
    [
        ("ID", id),
        ("VERSION_ID", version_id),
        ("VERSION_CODENAME", version_codename),
        ("NAME", name),
        ("PRETTY_NAME", pretty_name),
        ("ID_LIKE", id_like),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(key, value)| (key.to_owned(), value.clone()))
    .collect()
}

fn root(root: &RootFs) -> BootRoot {
    let RootFs { kind, partition, uuid, partition_uuid, subvolume } = root.clone();
    BootRoot { kind: kind.to_string(), partition, uuid, partition_uuid, subvolume }
}
