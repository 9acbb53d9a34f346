//! Disks of other programs, copied by a confined child.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use disk::{BackingPolicy, ConvertOptions, CreateOptions, DiskFormat, OfflineError, SourceFormat};
use host_sys::file_lock::{LockKind, try_lock};
use host_sys::named_file::{Accepts, folder_of, open_named};
use image_import::{DiskFile, Importer};

use crate::progress::Bar;

/// Copies a disk to a new file: raw, or an image with these options.
pub(super) fn convert(
    source: &Path,
    format: SourceFormat,
    target: &Path,
    to: Option<CreateOptions>,
    compress: bool,
) -> anyhow::Result<()> {
    let file = open_source(source)?;
    let disk = DiskFile { file: file.as_fd(), format, name: source };
    match to {
        None => {
            let raw = new_file(target)?;
            import(disk, &raw).inspect_err(|_| {
                // The error that counts is the first.
                let _ = fs::remove_file(target);
            })
        }
        Some(image) => {
            if target.symlink_metadata().is_ok() {
                return Err(OfflineError::Exists(target.to_owned()).into());
            }
            // The child makes raw disks only, which cannot name a file.
            let raw = nameless_file(target)?;
            import(disk, &raw)?;
            let (from, policy) = (DiskFormat::Raw, BackingPolicy::Refuse);
            let options = ConvertOptions { from, policy, to: Some(image), compress };
            let raw = PathBuf::from(format!("/proc/self/fd/{}", raw.as_raw_fd()));
            let bar = Bar::new();
            disk::convert(&raw, target, &options, |done_bytes, all_bytes| bar.show(done_bytes, all_bytes))?;
            Ok(())
        }
    }
}

fn import(disk: DiskFile<'_>, raw: &File) -> anyhow::Result<()> {
    let bar = Bar::new();
    let mut progress = |done_bytes, all_bytes| bar.show(done_bytes, all_bytes);
    let importer = Importer::this_program();
    let extents = importer.open_extents(disk, folder_of(disk.name))?;
    importer.convert(disk, &extents, raw.as_fd(), &mut progress)?;
    Ok(())
}

fn open_source(path: &Path) -> anyhow::Result<File> {
    let failed = || format!("cannot open disk {}", path.display());
    let file = open_named(path, Accepts::File).with_context(failed)?.file;
    if !try_lock(&file, LockKind::Shared).with_context(failed)? {
        bail!("disk {} is in use by another machine or process that writes to it", path.display());
    }
    Ok(file)
}

fn new_file(path: &Path) -> anyhow::Result<File> {
    let file = File::options().read(true).write(true).create_new(true).open(path);
    file.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => OfflineError::Exists(path.to_owned()).into(),
        _ => anyhow::Error::new(error).context(format!("cannot make {}", path.display())),
    })
}

/// A file beside `target` that is gone when it is closed.
fn nameless_file(target: &Path) -> anyhow::Result<File> {
    let mut name = target.as_os_str().to_owned();
    name.push(format!(".importing-{}", std::process::id()));
    let file = new_file(Path::new(&name))?;
    fs::remove_file(&name).with_context(|| format!("cannot remove {}", name.display()))?;
    Ok(file)
}
