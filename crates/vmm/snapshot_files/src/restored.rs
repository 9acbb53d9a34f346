//! Folders of VMs that were restored from snapshots: their disks, and what those build upon.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use host_sys::named_file::folder_of;
use host_sys::new_file::{replace, sync_folder};
use serde::{Deserialize, Serialize};
use vm_spec::VmName;

use crate::folder::{make_folder, names, remove_if_there};
use crate::snapshot::read_whole;
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
    /// It is there, or the host refuses; then there is none that was not there before.
    pub fn make(&self, origin: &Origin) -> Result<(), SnapshotError> {
        make_folder(folder_of(&self.folder)).map_err(SnapshotError::io("make", &self.folder))?;
        // One that is there is somebody else's.
        DirBuilder::new()
            .mode(0o700)
            .create(&self.folder)
            .map_err(SnapshotError::io("make", &self.folder))?;
        let written = self.write(origin);
        if written.is_err() {
            // Why it could not be written says more than that it could not be removed.
            let _ = self.remove();
        }
        written
    }

    fn write(&self, origin: &Origin) -> Result<(), SnapshotError> {
        let path = self.folder.join(ORIGIN);
        let text =
            serde_json::to_vec(origin).map_err(|error| SnapshotError::io("write", &path)(error.into()))?;
        replace(&path, &text).map_err(SnapshotError::io("write", &path))?;
        sync_folder(folder_of(&self.folder)).map_err(SnapshotError::io("write", &self.folder))
    }

    /// What its disks build upon; nothing where there is none yet.
    fn origin(&self) -> Result<Option<Origin>, SnapshotError> {
        let path = self.folder.join(ORIGIN);
        let text = match read_whole(&path, ORIGIN_BYTES_MAX) {
            Err(SnapshotError::Io { source, .. })
                if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(None);
            }
            text => text?,
        };
        let bad = |error: serde_json::Error| {
            let why = messages::parser_words(&error.to_string());
            SnapshotError::Record { path: path.clone(), why }
        };
        serde_json::from_slice(&text).map(Some).map_err(bad)
    }

    /// The disks in it: images in qcow2, by their names.
    ///
    /// # Errors
    /// The host refuses.
    pub fn disks(&self) -> Result<Vec<PathBuf>, SnapshotError> {
        let failed = |source| SnapshotError::io("read", &self.folder)(source);
        let entries = std::fs::read_dir(&self.folder).map_err(failed)?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
        let paths = paths.map_err(failed)?.into_iter();
        Ok(paths.filter(|path| path.extension().is_some_and(|extension| extension == "qcow2")).collect())
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
        if let Some(other) = self.difference_from(id)? {
            return Ok(Some(format!(
                "snapshot {other} has only what differs from it; 'yagura snapshot flatten {other}' makes that whole by itself"
            )));
        }
        // Records name what is behind a disk without links.
        let folder = std::fs::canonicalize(folder).map_err(SnapshotError::io("find", folder))?;
        for vm in self.vms()? {
            for name in self.names(&vm)? {
                let other = SnapshotId { vm: vm.clone(), name };
                if other == *id {
                    continue;
                }
                // One that cannot be read can be restored by nobody.
                let Ok(snapshot) = self.open(&other) else { continue };
                let mut behind =
                    snapshot.record.disks.iter().filter_map(|disk| disk.backing.as_ref()?.path.as_ref());
                if behind.any(|path| Path::new(path).starts_with(&folder)) {
                    return Ok(Some(format!(
                        "the disks of snapshot {other} build upon it; delete that first"
                    )));
                }
            }
        }
        Ok(None)
    }

    fn restored_from(&self, id: &SnapshotId) -> Result<Option<VmName>, SnapshotError> {
        for (name, origin) in self.all_restored()? {
            if origin?.snapshot == *id {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// VMs that were restored from snapshots, by their names, and from which; of one whose folder was only just made nothing
    /// is known yet.
    ///
    /// # Errors
    /// The folder is there and cannot be read. What is wrong with one is told with its name.
    pub fn all_restored(&self) -> Result<BTreeMap<VmName, Result<Origin, SnapshotError>>, SnapshotError> {
        let names: Vec<VmName> = names(&self.data().join(FOLDER))?;
        let origin = |name: VmName| Some((name.clone(), self.restored(&name).origin().transpose()?));
        Ok(names.into_iter().filter_map(origin).collect())
    }
}
