//! Folders in which images are prepared, unseen by anybody else.

use std::fs::{self, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::ByteProgress;
use crate::durable;
use crate::error::StoreError;
use crate::locks;
use crate::sparse;
use crate::store::Store;

/// A folder of the store's file system in which an image is prepared. It goes when it is dropped; if the
/// process is killed, garbage collection removes it.
#[derive(Debug)]
pub struct StagingFolder {
    path: PathBuf,
    /// Its lock says that somebody is still at it.
    _folder: File,
}

impl Store {
    /// Makes a staging folder.
    ///
    /// # Errors
    /// What the host refuses.
    pub fn stage(&self) -> Result<StagingFolder, StoreError> {
        let staging = self.layout.staging();
        let path = staging.join(durable::random_name(&staging)?);
        // Whoever collects garbage has the lock alone, so it never sees a folder that is not locked yet.
        let _lock = self.lock_shared()?;
        fs::DirBuilder::new().mode(0o700).create(&path).map_err(StoreError::io("make the folder", &path))?;
        let folder = File::open(&path).map_err(StoreError::io("open", &path))?;
        if !locks::try_lock(&folder, &path)? {
            return Err(StoreError::metadata(&path, "somebody else has locked this new folder"));
        }
        Ok(StagingFolder { path, _folder: folder })
    }
}

impl StagingFolder {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it. `name` is the program's, never a person's.
    pub fn file(&self, name: &'static str) -> PathBuf {
        self.path.join(name)
    }

    /// Brings a raw file of the host in under `name`: shared where the file system can, else copied, holes as
    /// holes.
    ///
    /// # Errors
    /// It cannot be read, or there is no room.
    pub fn copy_in(
        &self,
        source: &Path,
        name: &'static str,
        progress: ByteProgress<'_>,
    ) -> Result<PathBuf, StoreError> {
        let target = self.file(name);
        sparse::clone_or_copy(source, (&target).into(), progress)?;
        Ok(target)
    }
}

impl Drop for StagingFolder {
    fn drop(&mut self) {
        // What is left is found by the next garbage collection.
        let _ = fs::remove_dir_all(&self.path);
    }
}
