//! Removing what nothing refers to.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::durable;
use crate::error::StoreError;
use crate::images::{list_folder, room_bytes};
use crate::locks::{self, StoreLock};
use crate::store::Store;

/// What is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GarbageOptions {
    /// Only say what would be removed.
    pub dry_run: bool,
    /// Downloads that nobody went on with for so long are given up.
    pub partial_older_than: Duration,
}

/// What sort of thing was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RemovedKind {
    /// A blob that no image and no instance refers to.
    Blob,
    /// A download that nobody goes on with.
    Partial,
    /// A staging folder, or a file that was being written, of a process that has ended.
    Staging,
    /// What verification moved aside.
    Damaged,
}

/// A thing that was removed, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// What it was.
    pub kind: RemovedKind,
    /// Where it was.
    pub path: PathBuf,
    /// The room it took, in bytes.
    pub bytes: u64,
}

/// What garbage collection did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GarbageReport {
    /// Each thing.
    pub removed: Vec<Removed>,
    /// The room they took together, in bytes.
    pub freed_bytes: u64,
}

/// Collects, and does, unless it is only to say.
struct Collection {
    options: GarbageOptions,
    report: GarbageReport,
}

impl Store {
    /// Removes blobs that nothing refers to, old downloads, and what processes that were killed left behind.
    ///
    /// # Errors
    /// Metadata that cannot be read (what it refers to would be lost), or what the host refuses.
    pub fn collect_garbage(&self, options: GarbageOptions) -> Result<GarbageReport, StoreError> {
        let mut collection = Collection { options, report: GarbageReport::default() };
        let lock = self.lock_exclusive()?;
        self.collect_blobs(&mut collection, &lock)?;
        self.collect_unfinished(&mut collection)?;
        self.collect_staging(&mut collection)?;
        self.collect_partial(&mut collection)?;
        for path in list_folder(&self.layout.damaged())? {
            collection.remove(RemovedKind::Damaged, &path)?;
        }
        self.collect_locks(&collection)?;
        Ok(collection.report)
    }

    fn collect_blobs(&self, collection: &mut Collection, lock: &StoreLock) -> Result<(), StoreError> {
        let needed = self.needed_blobs(lock)?;
        for blob in self.blob_ids()?.iter().filter(|blob| !needed.contains(blob)) {
            collection.remove(RemovedKind::Blob, &self.blob_path(blob))?;
        }
        Ok(())
    }

    /// Small files that were being written; whoever writes one holds the store's lock, which we have.
    fn collect_unfinished(&self, collection: &mut Collection) -> Result<(), StoreError> {
        for folder in [self.root().to_owned(), self.layout.images()] {
            for path in list_folder(&folder)? {
                let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
                if ending.starts_with(durable::NEW_ENDING) {
                    collection.remove(RemovedKind::Staging, &path)?;
                }
            }
        }
        Ok(())
    }

    fn collect_staging(&self, collection: &mut Collection) -> Result<(), StoreError> {
        for path in list_folder(&self.layout.staging())? {
            let folder = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                folder => folder.map_err(StoreError::io("open", &path))?,
            };
            // Whoever removes one himself holds its lock until it is gone.
            if locks::try_lock(&folder, &path)? && path.exists() {
                collection.remove(RemovedKind::Staging, &path)?;
            }
        }
        Ok(())
    }

    /// A download is in use while the lock with its name is held.
    fn collect_partial(&self, collection: &mut Collection) -> Result<(), StoreError> {
        for path in list_folder(&self.layout.partial())? {
            let stem = path.file_stem().unwrap_or_default();
            let Some(lock) = locks::try_key(&self.layout.locks().join(stem))? else { continue };
            if collection.is_old(&path) {
                collection.remove(RemovedKind::Partial, &path)?;
            }
            drop(lock);
        }
        Ok(())
    }

    fn collect_locks(&self, collection: &Collection) -> Result<(), StoreError> {
        if collection.options.dry_run {
            return Ok(());
        }
        for path in list_folder(&self.layout.locks())? {
            if let Some(_held) = locks::try_key(&path)? {
                durable::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

impl Collection {
    fn remove(&mut self, kind: RemovedKind, path: &Path) -> Result<(), StoreError> {
        let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
        let bytes = if is_folder { folder_bytes(path)? } else { room_bytes(path) };
        if !self.options.dry_run {
            if is_folder { durable::remove_folder(path) } else { durable::remove_file(path) }?;
        }
        self.report.freed_bytes += bytes;
        self.report.removed.push(Removed { kind, path: path.to_owned(), bytes });
        Ok(())
    }

    fn is_old(&self, path: &Path) -> bool {
        let changed = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
        let age = changed.ok().and_then(|changed| SystemTime::now().duration_since(changed).ok());
        age.is_some_and(|age| age >= self.options.partial_older_than)
    }
}

fn folder_bytes(folder: &Path) -> Result<u64, StoreError> {
    let mut bytes = room_bytes(folder);
    for path in list_folder(folder)? {
        let is_folder = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir());
        bytes += if is_folder { folder_bytes(&path)? } else { room_bytes(&path) };
    }
    Ok(bytes)
}
