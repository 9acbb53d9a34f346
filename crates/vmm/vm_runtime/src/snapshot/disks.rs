//! Disks in a snapshot: planned and copied while the guest runs, put right while it stands still and behind that.
//!
//! ```text
//! plan ─► copy_live: all of it, then what was written meanwhile, until little is left
//!      ─► catch_up: the same again, when RAM has been copied ─► freeze: the rest, while the guest stands still ─► finish
//! ```
//!
//! A copy shares its blocks with the disk where the file system can do that, which takes no time: all of it in the pause.
//! Disks that the guest may only read are copied before.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::{BackingName, DirtyBitmap, DiskFormat as OfflineFormat, RawContents, rename_backing};
use host_sys::file_copy::{CopyMethod, can_share_blocks, copy_again, copy_file};
use snapshot_files::{FileName, Keeping, KeptBacking, KeptDisk, KeptFile};
use vm_spec::{DeviceId, DiskFormat, DiskSpec, VmSpec};

use super::SnapshotFailure;
use super::take::file_name;

/// What is left free besides: the state, indexes, tables of the file system.
const SPARE_BYTES: u64 = 16 << 20;

/// How often what was written meanwhile is copied before the guest has to stand still.
const ROUNDS: u32 = 8;
/// So little is copied in the pause as it is, in bytes: about a millisecond's work.
const FEW_BYTES: u64 = 4 << 20;

/// So much of a disk is copied before it is looked again whether anybody wants it, in bytes.
const LIVE_BYTES: u64 = 64 << 20;

/// A disk that a machine has.
pub(crate) struct LiveDisk {
    /// Its length.
    pub(crate) size_bytes: u64,
    /// Which parts of its file are written.
    pub(crate) dirty: Arc<DirtyBitmap>,
}

/// The disks of a machine on their way into a snapshot.
pub(super) struct DiskCopies(Vec<DiskCopy>);

struct DiskCopy {
    id: DeviceId,
    spec: DiskSpec,
    size_bytes: u64,
    /// The disk's file, whatever links lead to it.
    path: PathBuf,
    source: File,
    file: FileName,
    target_path: PathBuf,
    target: File,
    method: Option<CopyMethod>,
    log: Option<Log>,
}

/// A bitmap that is on, until this goes.
struct Log(Arc<DirtyBitmap>);

impl Drop for Log {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl DiskCopies {
    /// Opens disks and files for their copies, and sees to it that there is room, for `ram_bytes` of RAM too.
    pub(super) fn plan(
        spec: &VmSpec,
        live: &BTreeMap<DeviceId, LiveDisk>,
        folder: &Path,
        ram_bytes: u64,
    ) -> Result<DiskCopies, SnapshotFailure> {
        let disks = spec.disk_ids().into_iter().zip(&spec.disks);
        let open = |(id, disk): (DeviceId, &DiskSpec)| {
            let size_bytes = live.get(&id).map_or(0, |live| live.size_bytes);
            DiskCopy::open(id, disk, size_bytes, folder)
        };
        let mut copies = disks.map(open).collect::<Result<Vec<_>, _>>()?;
        let mut needed = ram_bytes + SPARE_BYTES;
        for copy in &copies {
            needed += copy.needed_bytes()?;
        }
        let room = rustix::fs::statvfs(folder);
        let room = room.map_err(|errno| SnapshotFailure::io("look at", folder)(errno.into()))?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if free < needed {
            return Err(SnapshotFailure::NoRoom { folder: folder.to_owned(), needed, free });
        }
        copies.iter_mut().filter(|copy| copy.spec.readonly).try_for_each(DiskCopy::copy)?;
        Ok(DiskCopies(copies))
    }

    /// Copies disks that the guest writes to, and that cannot share blocks, while it runs; again and again what it has
    /// written meanwhile, until `is_unwanted`.
    pub(super) fn copy_live(
        &mut self,
        live: &BTreeMap<DeviceId, LiveDisk>,
        is_unwanted: impl Fn() -> bool,
    ) -> Result<(), SnapshotFailure> {
        for copy in self.0.iter_mut().filter(|copy| !copy.spec.readonly) {
            if let Some(disk) = live.get(&copy.id).filter(|_| !can_share_blocks(&copy.source, &copy.target)) {
                disk.dirty.start();
                copy.log = Some(Log(Arc::clone(&disk.dirty)));
                copy.copy_live(&is_unwanted)?;
            }
        }
        self.catch_up(is_unwanted)
    }

    /// Copies what was written since it was looked at last, while the guest runs.
    pub(super) fn catch_up(&mut self, is_unwanted: impl Fn() -> bool) -> Result<(), SnapshotFailure> {
        for _ in 0..ROUNDS {
            if is_unwanted() {
                return Err(SnapshotFailure::Unwanted);
            }
            let copied = self.0.iter().map(DiskCopy::copy_dirty).sum::<Result<u64, _>>()?;
            if copied <= FEW_BYTES {
                break;
            }
        }
        Ok(())
    }

    /// Copies what is left of the disks that the guest writes to. It stands still.
    pub(super) fn freeze(&mut self) -> Result<(), SnapshotFailure> {
        for copy in self.0.iter_mut().filter(|copy| !copy.spec.readonly) {
            match copy.log {
                Some(_) => drop(copy.copy_dirty()?),
                None => copy.copy()?,
            }
            copy.log = None;
        }
        Ok(())
    }

    /// Has each copy name what is behind it, and brings all to stable storage.
    pub(super) fn finish(self, folder: &Path) -> Result<(Vec<KeptDisk>, Vec<KeptFile>), SnapshotFailure> {
        let (mut disks, mut files) = (Vec::new(), Vec::new());
        for copy in self.0 {
            let (disk, more) = copy.finish(folder)?;
            disks.push(disk);
            files.extend(more);
        }
        Ok((disks, files))
    }
}

impl DiskCopy {
    fn open(
        id: DeviceId,
        spec: &DiskSpec,
        size_bytes: u64,
        folder: &Path,
    ) -> Result<DiskCopy, SnapshotFailure> {
        let path = fs::canonicalize(&spec.path).map_err(SnapshotFailure::io("find", &spec.path))?;
        let source = File::open(&path).map_err(SnapshotFailure::io("open", &path))?;
        let metadata = source.metadata().map_err(SnapshotFailure::io("look at", &path))?;
        if metadata.file_type().is_block_device() {
            return Err(SnapshotFailure::BlockDevice(path));
        }
        let file = file_name(&format!("{id}.{}", spec.format.name()))?;
        let target_path = folder.join(file.as_str());
        let target = File::options().read(true).write(true).create_new(true).open(&target_path);
        let target = target.map_err(SnapshotFailure::io("make", &target_path))?;
        let (spec, method, log) = (spec.clone(), None, None);
        Ok(DiskCopy { id, spec, size_bytes, path, source, file, target_path, target, method, log })
    }

    /// Room that a copy takes.
    fn needed_bytes(&self) -> Result<u64, SnapshotFailure> {
        if can_share_blocks(&self.source, &self.target) {
            return Ok(0);
        }
        let metadata = self.source.metadata().map_err(SnapshotFailure::io("look at", &self.path))?;
        Ok(metadata.blocks() * 512)
    }

    fn copy(&mut self) -> Result<(), SnapshotFailure> {
        let method = copy_file(&self.source, &self.target);
        self.method = Some(method.map_err(SnapshotFailure::io("copy to", &self.target_path))?);
        Ok(())
    }

    /// Copies all of it while others write, until `is_unwanted`.
    fn copy_live(&mut self, is_unwanted: impl Fn() -> bool) -> Result<(), SnapshotFailure> {
        let metadata = self.source.metadata().map_err(SnapshotFailure::io("look at", &self.path))?;
        for start in (0..metadata.len()).step_by(LIVE_BYTES as usize) {
            if is_unwanted() {
                return Err(SnapshotFailure::Unwanted);
            }
            let copied = copy_again(&self.source, &self.target, start..start + LIVE_BYTES);
            copied.map_err(SnapshotFailure::io("copy to", &self.target_path))?;
        }
        self.method = Some(CopyMethod::Copied);
        Ok(())
    }

    /// Copies what was written since the last time; how much that is, in bytes.
    fn copy_dirty(&self) -> Result<u64, SnapshotFailure> {
        let ranges = self.log.as_ref().map_or_else(Vec::new, |log| log.0.take());
        let failed = SnapshotFailure::io("copy to", &self.target_path);
        let copied =
            ranges.iter().try_for_each(|range| copy_again(&self.source, &self.target, range.clone()));
        copied.map_err(failed)?;
        Ok(ranges.iter().map(|Range { start, end }| end - start).sum())
    }

    fn finish(self, folder: &Path) -> Result<(KeptDisk, Vec<KeptFile>), SnapshotFailure> {
        let mut files = Vec::new();
        let backing = match self.spec.format {
            DiskFormat::Raw => None,
            DiskFormat::Qcow2 => self.keep_backing(folder, &mut files)?,
        };
        self.target.sync_all().map_err(SnapshotFailure::io("write", &self.target_path))?;
        let metadata = self.target.metadata().map_err(SnapshotFailure::io("look at", &self.target_path))?;
        files.push(KeptFile { name: self.file.clone(), size_bytes: metadata.len(), crc32c: None });
        let kept = match self.method {
            Some(CopyMethod::SharedBlocks) => Keeping::SharedBlocks,
            _ => Keeping::Copied,
        };
        let DiskSpec { format, block_size, readonly, on_error, .. } = self.spec;
        let disk = KeptDisk {
            id: self.id,
            file: self.file,
            format,
            size_bytes: self.size_bytes,
            block_size,
            readonly,
            on_error,
            kept,
            path: self.path.display().to_string(),
            backing,
        };
        Ok((disk, files))
    }

    /// The name that a disk has for what is behind it may lead from its own folder alone. What is raw gets a second name in
    /// the snapshot, so that it is there as long as that is: an image that is removed, say. All else is named by its path.
    fn keep_backing(
        &self,
        folder: &Path,
        files: &mut Vec<KeptFile>,
    ) -> Result<Option<KeptBacking>, SnapshotFailure> {
        let failed = |source| SnapshotFailure::Disk { path: self.path.clone(), source: Box::new(source) };
        let info = disk::info(&self.target_path, OfflineFormat::Qcow2, RawContents::Any).map_err(failed)?;
        let Some(BackingName { path: name, format }) = info.qcow2.and_then(|qcow2| qcow2.backing) else {
            return Ok(None);
        };
        let behind = self.path.with_file_name(&name);
        let behind = fs::canonicalize(&behind).map_err(SnapshotFailure::io("find", &behind))?;
        let link = file_name(&format!("{}.base", self.id))?;
        let is_raw = format.as_deref() == Some("raw");
        let linked = is_raw && fs::hard_link(&behind, folder.join(link.as_str())).is_ok();
        let named = if linked { Path::new(link.as_str()) } else { &behind };
        let text = named.to_str().ok_or_else(|| {
            SnapshotFailure::io("name", &behind)(std::io::ErrorKind::InvalidFilename.into())
        })?;
        rename_backing(&self.target_path, text).map_err(failed)?;
        if linked {
            let size_bytes = fs::metadata(&behind).map_err(SnapshotFailure::io("look at", &behind))?.len();
            files.push(KeptFile { name: link.clone(), size_bytes, crc32c: None });
        }
        let path = (!linked).then(|| named.display().to_string());
        Ok(Some(KeptBacking { name, file: linked.then_some(link), path }))
    }
}
