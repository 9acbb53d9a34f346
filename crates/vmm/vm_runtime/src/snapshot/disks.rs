//! Disks in a snapshot: planned while the guest runs, copied while it stands still, put right behind that.
//!
//! A copy shares its blocks with the disk where the file system can do that, which takes no time. Elsewhere it is made byte
//! by byte, and the guest stands still for as long as that takes. Disks that the guest may only read are copied before.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use disk::{BackingName, DiskFormat as OfflineFormat, RawContents, rename_backing};
use host_sys::file_copy::{CopyMethod, can_share_blocks, copy_file};
use snapshot_files::{FileName, Keeping, KeptBacking, KeptDisk, KeptFile};
use vm_spec::{DeviceId, DiskFormat, DiskSpec, VmSpec};

use super::SnapshotFailure;
use super::take::file_name;

/// What is left free besides: the state, indexes, tables of the file system.
const SPARE_BYTES: u64 = 16 << 20;

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
}

impl DiskCopies {
    /// Opens disks and files for their copies, and sees to it that there is room, for `ram_bytes` of RAM too.
    pub(super) fn plan(
        spec: &VmSpec,
        disk_bytes: &BTreeMap<DeviceId, u64>,
        folder: &Path,
        ram_bytes: u64,
    ) -> Result<DiskCopies, SnapshotFailure> {
        let disks = spec.disk_ids().into_iter().zip(&spec.disks);
        let open = |(id, disk): (DeviceId, &DiskSpec)| {
            let size_bytes = disk_bytes.get(&id).copied().unwrap_or_default();
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

    /// Copies the disks that the guest writes to. It stands still.
    pub(super) fn freeze(&mut self) -> Result<(), SnapshotFailure> {
        self.0.iter_mut().filter(|copy| !copy.spec.readonly).try_for_each(DiskCopy::copy)
    }

    /// What a person should know of how it was done.
    pub(super) fn note(&self) -> Option<String> {
        let copied = |copy: &&DiskCopy| copy.method == Some(CopyMethod::Copied) && !copy.spec.readonly;
        let first = self.0.iter().find(copied)?.path.display();
        Some(format!(
            "disk {first} was copied while the guest stood still, as its file system cannot share blocks (XFS and Btrfs can)"
        ))
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
        let (spec, method) = (spec.clone(), None);
        Ok(DiskCopy { id, spec, size_bytes, path, source, file, target_path, target, method })
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
