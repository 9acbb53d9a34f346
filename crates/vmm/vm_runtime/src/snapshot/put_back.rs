//! A machine's disks as they were in a snapshot: copies of the snapshot's beside the machine's, and then in their places.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use disk::rename_backing;
use host_sys::file_copy::copy_file;
use host_sys::named_file::folder_of;
use snapshot_files::{KeptDisk, Snapshot};
use vm_spec::VmSpec;

use super::SnapshotFailure;

/// Disks that are ready to take the places of the machine's. Dropped before, they go.
#[derive(Default)]
pub(crate) struct PutBack {
    disks: Vec<Ready>,
}

struct Ready {
    copy: PathBuf,
    place: PathBuf,
}

impl PutBack {
    /// Copies each disk of the snapshot that the machine writes to. The machine, of `spec`, may run meanwhile.
    pub(super) fn prepare(snapshot: &Snapshot, spec: &VmSpec) -> Result<PutBack, SnapshotFailure> {
        let mut ready = PutBack::default();
        for (id, disk) in spec.disk_ids().into_iter().zip(&spec.disks) {
            let Some(kept) = snapshot.record.disks.iter().find(|kept| kept.id == id) else { continue };
            if kept.format != disk.format {
                return Err(SnapshotFailure::Format(id));
            }
            if !disk.readonly {
                let place = fs::canonicalize(&disk.path).map_err(SnapshotFailure::io("find", &disk.path))?;
                ready.copy(snapshot, kept, &place)?;
            }
        }
        Ok(ready)
    }

    fn copy(&mut self, snapshot: &Snapshot, kept: &KeptDisk, place: &Path) -> Result<(), SnapshotFailure> {
        let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let copy = folder_of(place).join(format!(".{name}.restored"));
        let from_path = snapshot.path(&kept.file);
        let from = File::open(&from_path).map_err(SnapshotFailure::io("open", &from_path))?;
        // What one who was killed has left goes; what anybody put there is not written to.
        let _ = fs::remove_file(&copy);
        let to = File::options().read(true).write(true).create_new(true).mode(0o600).open(&copy);
        let to = to.map_err(SnapshotFailure::io("make", &copy))?;
        self.disks.push(Ready { copy: copy.clone(), place: place.to_owned() });
        copy_file(&from, &to).map_err(SnapshotFailure::io("copy to", &copy))?;
        if let Some(backing) = &kept.backing {
            let renamed = rename_backing(&copy, &backing.name);
            renamed
                .map_err(|source| SnapshotFailure::Disk { path: copy.clone(), source: Box::new(source) })?;
        }
        let former = fs::metadata(place).map_err(SnapshotFailure::io("look at", place))?;
        to.set_permissions(fs::Permissions::from_mode(former.mode() & 0o7777))
            .map_err(SnapshotFailure::io("change the permissions of", &copy))?;
        // Only root may give files away; nobody else has another's.
        let _ = fchown(&to, Some(former.uid()), Some(former.gid()));
        to.sync_all().map_err(SnapshotFailure::io("write", &copy))
    }

    /// Puts them in their places. Nothing uses the machine's disks.
    pub(crate) fn put(mut self) -> Result<(), SnapshotFailure> {
        while let Some(Ready { copy, place }) = self.disks.last() {
            fs::rename(copy, place).map_err(SnapshotFailure::io("replace", place))?;
            let folder = folder_of(place);
            // The disk has its name; whether that survives a power cut is as sure as the file system makes it.
            if let Err(error) = File::open(folder).and_then(|folder| folder.sync_all()) {
                tracing::warn!(%error, folder = %folder.display(), "cannot be brought to stable storage");
            }
            self.disks.pop();
        }
        Ok(())
    }
}

impl Drop for PutBack {
    fn drop(&mut self) {
        for Ready { copy, .. } in &self.disks {
            // Nobody knows of it.
            let _ = fs::remove_file(copy);
        }
    }
}
