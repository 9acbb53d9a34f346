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
use std::iter::once;
use std::ops::Range;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::{BackingName, DirtyBitmap, DiskFormat as OfflineFormat, RawContents, rename_backing};
use host_sys::file_copy::{CopyMethod, can_share_blocks, copy_file, copy_ranges, free_bytes};
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
    shares_blocks: bool,
    method: Option<CopyMethod>,
    /// Of one that is copied while others write to it.
    log: Option<Log>,
}

/// A bitmap that is on at most until this goes.
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
        dirty: &BTreeMap<DeviceId, Arc<DirtyBitmap>>,
        folder: &Path,
        ram_bytes: u64,
    ) -> Result<DiskCopies, SnapshotFailure> {
        let disks = spec.disk_ids().into_iter().zip(&spec.disks);
        let open = |(id, disk): (DeviceId, &DiskSpec)| {
            let dirty = dirty.get(&id).cloned();
            DiskCopy::open(id, disk, dirty, folder)
        };
        let mut copies = disks.map(open).collect::<Result<Vec<_>, _>>()?;
        let mut needed = ram_bytes + SPARE_BYTES;
        for copy in &copies {
            needed += copy.needed_bytes()?;
        }
        let free = free_bytes(folder).map_err(SnapshotFailure::io("look at", folder))?;
        if free < needed {
            return Err(SnapshotFailure::NoRoom { folder: folder.to_owned(), needed, free });
        }
        copies.iter_mut().filter(|copy| copy.spec.readonly).try_for_each(DiskCopy::copy)?;
        Ok(DiskCopies(copies))
    }

    /// Copies disks that the guest writes to, and that cannot share blocks, while it runs; again and again what it has
    /// written meanwhile, until `is_unwanted`.
    pub(super) fn copy_live(&mut self, is_unwanted: impl Fn() -> bool) -> Result<(), SnapshotFailure> {
        for copy in self.0.iter_mut().filter(|copy| copy.log.is_some()) {
            copy.copy_live(&is_unwanted)?;
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

    /// Copies what is left of the disks that the guest writes to. It stands still, and they are so long.
    pub(super) fn freeze(&mut self, disk_bytes: &BTreeMap<DeviceId, u64>) -> Result<(), SnapshotFailure> {
        for copy in &mut self.0 {
            copy.size_bytes = disk_bytes.get(&copy.id).copied().unwrap_or_default();
            match copy.log {
                Some(_) => drop(copy.copy_dirty()?),
                None if copy.spec.readonly => {}
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
        dirty: Option<Arc<DirtyBitmap>>,
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
        let shares_blocks = can_share_blocks(&source, &target);
        let log = dirty.filter(|_| !shares_blocks && !spec.readonly).map(Log);
        Ok(DiskCopy {
            id,
            spec: spec.clone(),
            size_bytes: 0,
            path,
            source,
            file,
            target_path,
            target,
            shares_blocks,
            method: None,
            log,
        })
    }

    /// Room that a copy takes.
    fn needed_bytes(&self) -> Result<u64, SnapshotFailure> {
        if self.shares_blocks {
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
        if let Some(Log(dirty)) = &self.log {
            dirty.start();
        }
        let metadata = self.source.metadata().map_err(SnapshotFailure::io("look at", &self.path))?;
        for start in (0..metadata.len()).step_by(LIVE_BYTES as usize) {
            if is_unwanted() {
                return Err(SnapshotFailure::Unwanted);
            }
            self.copy_ranges(once(start..start + LIVE_BYTES))?;
        }
        self.method = Some(CopyMethod::Copied);
        Ok(())
    }

    /// Copies what was written since the last time; how much that is, in bytes.
    fn copy_dirty(&self) -> Result<u64, SnapshotFailure> {
        let Some(Log(dirty)) = &self.log else { return Ok(0) };
        let ranges = dirty.take();
        let bytes = ranges.iter().map(|Range { start, end }| end - start).sum();
        self.copy_ranges(ranges)?;
        Ok(bytes)
    }

    fn copy_ranges(&self, ranges: impl IntoIterator<Item = Range<u64>>) -> Result<(), SnapshotFailure> {
        copy_ranges(&self.source, &self.target, ranges)
            .map_err(SnapshotFailure::io("copy to", &self.target_path))
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

#[cfg(test)]
mod tests {
    use disk::DirtyBitmap;
    use vm_spec::BootSpec;

    use super::*;

    /// `yagura resize` comes whenever it likes.
    #[test]
    fn a_disk_that_grows_while_it_is_copied_is_as_long_as_it_was_at_the_pause() {
        let folder = tempfile::tempdir().unwrap();
        let (path, target) = (folder.path().join("raw"), folder.path().join("snapshot"));
        fs::write(&path, [1; 4096]).unwrap();
        fs::create_dir(&target).unwrap();
        let kernel = vm_spec::KernelSpec::new("/nowhere");
        let disks = vec![DiskSpec::new(&path, DiskFormat::Raw)];
        let spec = VmSpec { disks, ..VmSpec::new("test".parse().unwrap(), BootSpec::Kernel(kernel)) };
        let id = spec.disk_ids().remove(0);
        let dirty = BTreeMap::from([(id.clone(), Arc::<DirtyBitmap>::default())]);
        let mut copies = DiskCopies::plan(&spec, &dirty, &target, 0).unwrap();
        copies.copy_live(|| false).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(1 << 20).unwrap();
        copies.freeze(&BTreeMap::from([(id, 1 << 20)])).unwrap();
        let (disks, files) = copies.finish(&target).unwrap();
        assert_eq!((disks[0].size_bytes, files[0].size_bytes), (1 << 20, 1 << 20));
        let copied = fs::read(target.join(disks[0].file.as_str())).unwrap();
        assert!(
            copied.len() == 1 << 20
                && copied[..4096] == [1; 4096]
                && copied[4096..].iter().all(|byte| *byte == 0)
        );
    }
}
