//! Locks between threads and processes: flock(2) on files of the store, which ends with the process that held
//! it.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};

use crate::durable;
use crate::error::StoreError;
use crate::store::Store;
use image_model::hex;

/// How often one who waits for a key looks, and tells that it waits.
const WAIT_STEP: Duration = Duration::from_millis(100);

/// Told to one who waits for a key: another process or thread is at the same thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// For how long by now.
    pub waited: Duration,
}

/// The store's own lock.
#[must_use]
pub(crate) struct StoreLock {
    _file: File,
}

/// What only one does at a time; until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct KeyLock {
    _file: File,
    name: String,
    waited: bool,
}

impl KeyLock {
    /// Whether somebody else had it before, and may have done what was to be done.
    pub fn waited(&self) -> bool {
        self.waited
    }
}

impl Store {
    pub(crate) fn lock_shared(&self) -> Result<StoreLock, StoreError> {
        self.lock(FlockOperation::LockShared)
    }

    pub(crate) fn lock_exclusive(&self) -> Result<StoreLock, StoreError> {
        self.lock(FlockOperation::LockExclusive)
    }

    fn lock(&self, operation: FlockOperation) -> Result<StoreLock, StoreError> {
        let path = self.layout.lock();
        let file = open_lock(&path)?;
        lock_waiting(&file, operation).map_err(StoreError::errno("lock", &path))?;
        Ok(StoreLock { _file: file })
    }

    /// Waits until nobody else is at the thing that `key` names, and is at it then. `waiting` is told ten
    /// times a second that somebody else is; it may end the wait by an error.
    ///
    /// # Errors
    /// Those of `waiting`, and what the host refuses.
    pub fn lock_key<E: From<StoreError>>(
        &self,
        key: &str,
        mut waiting: impl FnMut(Waiting) -> Result<(), E>,
    ) -> Result<KeyLock, E> {
        let name = hex(&Sha256::digest(key.as_bytes()));
        let path = self.layout.locks().join(&name);
        let mut waited = Duration::ZERO;
        loop {
            if let Some(file) = try_key(&path)? {
                return Ok(KeyLock { _file: file, name, waited: !waited.is_zero() });
            }
            waiting(Waiting { waited })?;
            thread::sleep(WAIT_STEP);
            waited += WAIT_STEP;
        }
    }

    /// Does `pull` unless `find` finds what it would bring. If several ask at once under one `key`, one does
    /// it and the others, told by `waiting`, find it.
    ///
    /// # Errors
    /// Those of the closures, and what the host refuses.
    pub fn pull_once<T, E: From<StoreError>>(
        &self,
        key: &str,
        waiting: impl FnMut(Waiting) -> Result<(), E>,
        mut find: impl FnMut(&KeyLock) -> Result<Option<T>, E>,
        pull: impl FnOnce(&KeyLock) -> Result<T, E>,
    ) -> Result<T, E> {
        let lock = self.lock_key(key, waiting)?;
        match find(&lock)? {
            Some(found) => Ok(found),
            None => pull(&lock),
        }
    }

    /// The file to which the holder of a key downloads what can go on later; beside it may lie one that ends in
    /// `.json`.
    pub fn partial_path(&self, lock: &KeyLock) -> PathBuf {
        self.layout.partial().join(&lock.name)
    }

    /// Removes what was downloaded under a key: it has become an image, or is worth nothing.
    ///
    /// # Errors
    /// The host refuses.
    pub fn remove_partial(&self, lock: &KeyLock) -> Result<(), StoreError> {
        let path = self.partial_path(lock);
        durable::remove_file(&path.with_extension("json"))?;
        if path.is_dir() { durable::remove_folder(&path) } else { durable::remove_file(&path) }
    }
}

/// Takes a key's lock if nobody has it.
pub(crate) fn try_key(path: &Path) -> Result<Option<File>, StoreError> {
    loop {
        let file = open_lock(path)?;
        if !try_lock(&file, path)? {
            return Ok(None);
        }
        // Whoever tidies up removes such files while it holds them: ours may have no name any more.
        let held = file.metadata().map_err(StoreError::io("look at", path))?;
        if fs::metadata(path).is_ok_and(|named| (named.dev(), named.ino()) == (held.dev(), held.ino())) {
            return Ok(Some(file));
        }
    }
}

/// Takes the lock of an open file or folder if nobody has it.
pub(crate) fn try_lock(file: &File, path: &Path) -> Result<bool, StoreError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(StoreError::errno("lock", path)(errno)),
    }
}

fn lock_waiting(file: &File, operation: FlockOperation) -> rustix::io::Result<()> {
    loop {
        match flock(file, operation) {
            Err(rustix::io::Errno::INTR) => {}
            answer => return answer,
        }
    }
}

fn open_lock(path: &Path) -> Result<File, StoreError> {
    let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    file.map_err(StoreError::io("open", path))
}
