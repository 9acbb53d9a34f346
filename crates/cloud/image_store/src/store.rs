//! Opening a store.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::durable;
use crate::error::StoreError;
use crate::layout::{Layout, VERSION};
use image_model::Digest;

/// Longest version file that is read.
const VERSION_BYTES_MAX: u64 = 64;

/// A folder of images and instances. Threads may share one; processes open one each.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) layout: Layout,
}

impl Store {
    /// Opens the store in the folder `root`, which is made (mode 0700) if it is not there.
    ///
    /// # Errors
    /// The folder cannot be made, or belongs to another version.
    pub fn open(root: &Path) -> Result<Store, StoreError> {
        let root = std::path::absolute(root).map_err(StoreError::io("find", root))?;
        let store = Store { layout: Layout::new(&root) };
        for folder in store.layout.folders() {
            make_folder(&folder)?;
        }
        store.check_version()?;
        Ok(store)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    /// Where a blob lies, if it is there.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.layout.blob(digest)
    }

    /// Whether a blob is there. Whether it is sound is for [`Store::verify`] to say.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }

    fn check_version(&self) -> Result<(), StoreError> {
        let path = self.layout.version();
        let found = match durable::read_file(&path, VERSION_BYTES_MAX) {
            Ok(found) => String::from_utf8_lossy(&found).trim().to_owned(),
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                let _lock = self.lock_exclusive()?;
                return durable::write_file(&path, format!("{VERSION}\n").as_bytes());
            }
            Err(error) => return Err(error),
        };
        if found == VERSION {
            return Ok(());
        }
        let found = found.escape_default().to_string();
        Err(StoreError::Version { path: self.root().to_owned(), found, known: VERSION })
    }
}

fn make_folder(path: &Path) -> Result<(), StoreError> {
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(error) => Err(StoreError::io("make the folder", path)(error)),
    }
}
