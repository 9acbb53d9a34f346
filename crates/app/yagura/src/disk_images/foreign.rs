//! Disks of other programs, copied by a confined child.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use disk::{
    BackingPolicy, ConvertOptions, CreateOptions, DiskFormat, OfflineError, Output, RawContents, SourceFormat,
};
use host_sys::file_lock::{LockKind, try_lock};
use host_sys::named_file::{Accepts, folder_of, open_named};
use host_sys::new_file::{self, NewFile};
use image_import::{DiskFile, Importer};

use crate::progress::Bar;

/// Copies a disk to a new file: raw, or an image with these options.
pub(super) fn convert(
    source: &Path,
    format: SourceFormat,
    target: Output<'_>,
    to: Option<CreateOptions>,
    compress: bool,
) -> anyhow::Result<()> {
    let file = open_source(source)?;
    let disk = DiskFile::new(file.as_fd(), format, source);
    if to.is_none() && !disk::is_block_device(target.path) {
        let failed = |error: io::Error| about(error, target.path);
        let new = NewFile::create(target.path, target.mode).map_err(failed)?;
        import(disk, new.file())?;
        return new.keep().map_err(failed);
    }
    if target.path.symlink_metadata().is_ok() && !disk::is_block_device(target.path) {
        return Err(OfflineError::Exists(target.path.to_owned()).into());
    }
    // The child makes raw disks in files only, which cannot name a file.
    let folder = scratch_folder(target.path);
    let raw =
        new_file::nameless(&folder).with_context(|| format!("cannot make a file in {}", folder.display()))?;
    import(disk, &raw)?;
    let (from, policy) = (DiskFormat::Raw, BackingPolicy::Refuse);
    let options = ConvertOptions { from, contents: RawContents::Any, policy, to, compress };
    let raw = PathBuf::from(format!("/proc/self/fd/{}", raw.as_raw_fd()));
    let bar = Bar::new();
    disk::convert(&raw, target, &options, |done_bytes, all_bytes| bar.show(done_bytes, all_bytes))?;
    Ok(())
}

/// Where there is room for a disk on its way: beside the file that is made, but not beside a device.
fn scratch_folder(target: &Path) -> PathBuf {
    if disk::is_block_device(target) { std::env::temp_dir() } else { folder_of(target).to_owned() }
}

fn about(error: io::Error, path: &Path) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists => OfflineError::Exists(path.to_owned()).into(),
        _ => anyhow::Error::new(error).context(format!("cannot make {}", path.display())),
    }
}

fn import(disk: DiskFile<'_>, raw: &File) -> anyhow::Result<()> {
    let bar = Bar::new();
    let mut progress = |done_bytes, all_bytes| {
        bar.show(done_bytes, all_bytes);
        ControlFlow::Continue(())
    };
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
