//! The folder of snapshots: one for each VM, and in it one for each of its snapshots.
//!
//! ```text
//! replace: as begin, of one that is there ─► keep: sync, exchange names; the former one goes
//! begin: lock ─► leftovers go ─► `.new-…` ─► (files) ─► keep: sync, rename ─► its name
//! delete: lock ─► rename to `.gone` ─► remove
//! ```
//!
//! Whatever begins with a dot is a leftover of somebody who was killed, once the folder's lock can be had: the next who
//! makes or removes a snapshot removes it.

use std::fs::{self, DirBuilder, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use host_sys::named_file::folder_of;
use host_sys::new_file::sync_folder;
use messages::did_you_mean;
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;
use vm_spec::VmName;

use crate::{RECORD, Record, Snapshot, SnapshotError, SnapshotId, SnapshotName, record};

const FOLDER: &str = "snapshots";
/// How names of what is being made begin. A number follows: who still writes for one that was killed meets nobody else's files.
const NEW: &str = ".new-";
const GONE: &str = ".gone";

/// All snapshots of a user.
#[derive(Clone, Debug)]
pub struct Snapshots {
    data: PathBuf,
}

/// A snapshot in the making. Dropped before [`keep`](Staging::keep), it leaves nothing.
#[derive(Debug)]
pub struct Staging {
    id: SnapshotId,
    folder: PathBuf,
    target: PathBuf,
    /// Whether it takes the place of one that is there.
    replaces: bool,
    is_kept: bool,
    /// Locked, and so this VM's snapshots are nobody else's to change.
    vm_folder: File,
}

impl Snapshots {
    /// Those below the folder of a user's data.
    pub fn new(data: &Path) -> Snapshots {
        Snapshots { data: data.to_owned() }
    }

    /// The folder of a user's data.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    fn vm_folder(&self, vm: &VmName) -> PathBuf {
        self.data.join(FOLDER).join(vm.as_str())
    }

    /// Names of VMs that have snapshots, in order.
    ///
    /// # Errors
    /// The folder is there and cannot be read.
    pub fn vms(&self) -> Result<Vec<VmName>, SnapshotError> {
        names(&self.data.join(FOLDER))
    }

    /// Names of a VM's snapshots, in order.
    ///
    /// # Errors
    /// The folder is there and cannot be read.
    pub fn names(&self, vm: &VmName) -> Result<Vec<SnapshotName>, SnapshotError> {
        names(&self.vm_folder(vm))
    }

    /// A snapshot, by its record.
    ///
    /// # Errors
    /// It is not there, or its record is not to be believed.
    pub fn open(&self, id: &SnapshotId) -> Result<Snapshot, SnapshotError> {
        let folder = self.vm_folder(&id.vm).join(id.name.as_str());
        match Snapshot::at(&folder) {
            Err(SnapshotError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Err(SnapshotError::Missing { id: id.clone(), suggestion: self.instead(id)? })
            }
            Ok(snapshot) if snapshot.record.id() != *id => {
                Err(SnapshotError::Foreign { path: folder, found: snapshot.record.id() })
            }
            answer => answer,
        }
    }

    fn instead(&self, id: &SnapshotId) -> Result<String, SnapshotError> {
        let names = self.names(&id.vm)?;
        if names.is_empty() {
            return Ok("; it has none".to_owned());
        }
        let meant = did_you_mean(id.name.as_str(), names.iter().map(SnapshotName::as_str));
        Ok(if meant.is_empty() { format!("; see 'yagura snapshot list {}'", id.vm) } else { meant })
    }

    /// Begins a snapshot, after what others have left was removed.
    ///
    /// # Errors
    /// The name is taken, another one of this VM is being made, or the host refuses.
    pub fn begin(&self, id: &SnapshotId) -> Result<Staging, SnapshotError> {
        let vm_folder = self.lock(&id.vm, true)?;
        if fs::symlink_metadata(self.vm_folder(&id.vm).join(id.name.as_str())).is_ok() {
            return Err(SnapshotError::Exists(id.clone()));
        }
        self.stage(id, vm_folder, false)
    }

    /// Begins what is to take the place of a snapshot that is there.
    ///
    /// # Errors
    /// Another one of this VM is being made, or the host refuses.
    pub(crate) fn replace(&self, id: &SnapshotId) -> Result<Staging, SnapshotError> {
        let vm_folder = self.lock(&id.vm, false)?;
        self.stage(id, vm_folder, true)
    }

    fn stage(&self, id: &SnapshotId, vm_folder: File, replaces: bool) -> Result<Staging, SnapshotError> {
        let path = self.vm_folder(&id.vm);
        let (target, folder) = (path.join(id.name.as_str()), path.join(unused_name()));
        make_folder(&folder).map_err(SnapshotError::io("make", &folder))?;
        Ok(Staging { id: id.clone(), folder, target, replaces, is_kept: false, vm_folder })
    }

    /// Removes a snapshot, whatever is in its folder.
    ///
    /// # Errors
    /// It is not there, a VM's disks build upon it, another command is at this VM's snapshots, or the host refuses.
    pub fn delete(&self, id: &SnapshotId) -> Result<(), SnapshotError> {
        let path = self.vm_folder(&id.vm);
        let folder = path.join(id.name.as_str());
        let missing = || -> Result<SnapshotError, SnapshotError> {
            Ok(SnapshotError::Missing { id: id.clone(), suggestion: self.instead(id)? })
        };
        if fs::symlink_metadata(&folder).is_err() {
            return Err(missing()?);
        }
        let _lock = self.lock(&id.vm, false)?;
        if let Some(user) = self.user_of(id, &folder)? {
            return Err(SnapshotError::Used { id: id.clone(), user });
        }
        let gone = path.join(GONE);
        match fs::rename(&folder, &gone) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()?),
            answer => answer.map_err(SnapshotError::io("remove", &folder))?,
        }
        fs::remove_dir_all(&gone).map_err(SnapshotError::io("remove", &gone))?;
        // The last one takes the folder along.
        let _not_empty = fs::remove_dir(&path);
        Ok(())
    }

    /// A VM's snapshots that have expired.
    ///
    /// # Errors
    /// The folder is there and cannot be read.
    pub fn expired(&self, vm: &VmName, now_s: u64) -> Result<Vec<SnapshotId>, SnapshotError> {
        let ids = self.names(vm)?.into_iter().map(|name| SnapshotId { vm: vm.clone(), name });
        let is_expired =
            |id: &SnapshotId| self.open(id).is_ok_and(|snapshot| snapshot.record.is_expired(now_s));
        Ok(ids.filter(is_expired).collect())
    }

    /// Locks a VM's folder, made if need be, and removes what is left in it of those who were killed.
    fn lock(&self, vm: &VmName, make: bool) -> Result<File, SnapshotError> {
        let path = self.vm_folder(vm);
        let failed = |source| SnapshotError::Io { path: path.clone(), operation: "lock", source };
        loop {
            if make {
                make_folder(&path).map_err(SnapshotError::io("make", &path))?;
            }
            let folder = File::open(&path).map_err(failed)?;
            match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
                Err(Errno::WOULDBLOCK) => return Err(SnapshotError::Busy(vm.clone())),
                answer => answer.map_err(|errno| failed(errno.into()))?,
            }
            // Somebody who removed the last snapshot may have taken it away since it was opened.
            let own = folder.metadata().map_err(failed)?.ino();
            if fs::metadata(&path).is_ok_and(|there| there.ino() == own) {
                remove_leftovers(&path)?;
                return Ok(folder);
            }
        }
    }
}

impl Staging {
    /// Where its files are to be written.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes one of its files, and brings it to stable storage.
    ///
    /// # Errors
    /// The host refuses.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), SnapshotError> {
        let path = self.folder.join(name);
        let written = fs::write(&path, bytes).and_then(|()| File::open(&path)?.sync_all());
        written.map_err(SnapshotError::io("write", &path))
    }

    /// Writes its record, the last of its files.
    ///
    /// # Errors
    /// The host refuses.
    pub fn write_record(&self, record: &Record) -> Result<(), SnapshotError> {
        let path = self.folder.join(RECORD);
        let json = record.to_json().map_err(|error| SnapshotError::io("write", &path)(error.into()))?;
        self.write(RECORD, &json)
    }

    /// Gives the snapshot its name. Its files are on stable storage already.
    ///
    /// # Errors
    /// Its record is missing or not to be believed, or the host refuses; then there is no snapshot.
    pub fn keep(mut self) -> Result<Snapshot, SnapshotError> {
        let snapshot = Snapshot::at(&self.folder)?;
        if snapshot.record.id() != self.id {
            return Err(SnapshotError::Foreign { path: self.folder.clone(), found: snapshot.record.id() });
        }
        sync(&self.folder)?;
        if self.replaces {
            let exchanged = renameat_with(CWD, &self.folder, CWD, &self.target, RenameFlags::EXCHANGE)
                .map_err(io::Error::from);
            // What has the other name now goes with this, as all that is not kept.
            exchanged.map_err(SnapshotError::io("exchange what is called", &self.target))?;
        } else {
            fs::rename(&self.folder, &self.target)
                .map_err(SnapshotError::io("give its name to", &self.target))?;
            self.is_kept = true;
        }
        self.vm_folder.sync_all().map_err(SnapshotError::io("write", &self.target))?;
        // Those above may have been made for it.
        let all = folder_of(folder_of(&self.target));
        [all, folder_of(all)].into_iter().try_for_each(sync)?;
        Ok(Snapshot { folder: self.target.clone(), ..snapshot })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.is_kept {
            // What cannot be removed is removed by the next who makes one.
            let _ = remove_if_there(&self.folder);
            let _not_empty = fs::remove_dir(folder_of(&self.folder));
        }
    }
}

/// Checks a description that a person gave.
///
/// # Errors
/// It is too long.
pub fn check_description(text: &str) -> Result<(), String> {
    let most = record::DESCRIPTION_MAX;
    if text.len() <= most {
        Ok(())
    } else {
        Err(format!("a description has up to {most} bytes, and this one {}", text.len()))
    }
}

fn unused_name() -> String {
    let number = RandomState::new().build_hasher().finish();
    format!("{NEW}{number:016x}")
}

/// Removes what begins with a dot.
fn remove_leftovers(folder: &Path) -> Result<(), SnapshotError> {
    let failed = |source| SnapshotError::Io { path: folder.to_owned(), operation: "read", source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}

/// The names in a folder that are of their form, in order; what begins with a dot is none. None, where there is no folder.
pub(crate) fn names<N: std::str::FromStr + Ord>(folder: &Path) -> Result<Vec<N>, SnapshotError> {
    let failed = |source| SnapshotError::Io { path: folder.to_owned(), operation: "read", source };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        names.extend(name.to_str().and_then(|name| name.parse().ok()));
    }
    names.sort_unstable();
    Ok(names)
}

/// A folder of its owner's alone, with those above it.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

pub(crate) fn remove_if_there(path: &Path) -> Result<(), SnapshotError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            fs::remove_file(path).map_err(SnapshotError::io("remove", path))
        }
        answer => answer.map_err(SnapshotError::io("remove", path)),
    }
}

fn sync(folder: &Path) -> Result<(), SnapshotError> {
    sync_folder(folder).map_err(SnapshotError::io("write", folder))
}
