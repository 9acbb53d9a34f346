//! Folders of VMs that were restored from snapshots: their disks, and what those build upon.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vm_spec::VmName;

use crate::folder::{make_folder, read_whole, remove_if_there};
use crate::{SnapshotError, SnapshotId, Snapshots};

const FOLDER: &str = "restored";
const ORIGIN: &str = "origin.json";
const ORIGIN_BYTES_MAX: u64 = 1 << 16;

/// Which snapshot a VM's disks build upon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The snapshot.
    pub snapshot: SnapshotId,
}

/// The folder of a VM that was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    folder: PathBuf,
}

impl Restored {
    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether it is there.
    pub fn exists(&self) -> bool {
        self.folder.exists()
    }

    /// Makes it, for disks that build upon `origin`. That is written down before there is any.
    ///
    /// # Errors
    /// The host refuses.
    pub fn make(&self, origin: &Origin) -> Result<(), SnapshotError> {
        make_folder(&self.folder).map_err(SnapshotError::io("make", &self.folder))?;
        let path = self.folder.join(ORIGIN);
        let text =
            serde_json::to_vec(origin).map_err(|error| SnapshotError::io("write", &path)(error.into()))?;
        std::fs::write(&path, text).map_err(SnapshotError::io("write", &path))
    }

    /// Removes it with the disks in it.
    ///
    /// # Errors
    /// The host refuses.
    pub fn remove(&self) -> Result<(), SnapshotError> {
        remove_if_there(&self.folder)
    }
}

impl Snapshots {
    /// The folder of the VM called `name`, if it is restored from a snapshot.
    pub fn restored(&self, name: &VmName) -> Restored {
        Restored { folder: self.data().join(FOLDER).join(name.as_str()) }
    }

    /// Who builds upon a snapshot, and what to do about it.
    pub(crate) fn user_of(&self, id: &SnapshotId, folder: &Path) -> Result<Option<String>, SnapshotError> {
        if let Some(vm) = self.restored_from(id)? {
            return Ok(Some(format!(
                "VM {vm} was restored from it, and its disks build upon it; 'yagura delete {vm}' removes those"
            )));
        }
        for vm in self.vms()? {
            for name in self.names(&vm)? {
                let other = SnapshotId { vm: vm.clone(), name };
                // One that cannot be read can be restored by nobody.
                let Ok(snapshot) = self.open(&other) else { continue };
                let mut behind =
                    snapshot.record.disks.iter().filter_map(|disk| disk.backing.as_ref()?.path.as_ref());
                if other != *id && behind.any(|path| Path::new(path).starts_with(folder)) {
                    return Ok(Some(format!(
                        "the disks of snapshot {other} build upon it; delete that first"
                    )));
                }
            }
        }
        Ok(None)
    }

    fn restored_from(&self, id: &SnapshotId) -> Result<Option<VmName>, SnapshotError> {
        let all = self.data().join(FOLDER);
        let entries = match std::fs::read_dir(&all) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            entries => entries.map_err(SnapshotError::io("read", &all))?,
        };
        for entry in entries {
            let entry = entry.map_err(|source| SnapshotError::io("read", &all)(source))?;
            let Some(name) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // One that says nothing of what it builds upon has no disks yet.
            let Ok(text) = read_whole(&entry.path().join(ORIGIN), ORIGIN_BYTES_MAX) else { continue };
            let origin: Option<Origin> = serde_json::from_slice(&text).ok();
            if origin.is_some_and(|origin| origin.snapshot == *id) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}
