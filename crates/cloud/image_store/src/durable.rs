//! Files that are whole or absent, whenever the power goes.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use host_sys::named_file::folder_of;

use crate::error::StoreError;
use image_model::hex;

/// How the endings of files begin that are being written.
pub(crate) const NEW_ENDING: &str = "new-";

/// Writes a file whole: under another name, synced, then renamed over what was at `path`.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let new = path.with_extension(format!("{NEW_ENDING}{}", random_name(path)?));
    let written = write_synced(&new, bytes).and_then(|()| rename_synced(&new, path));
    if written.is_err() {
        // The error that counts is the first.
        let _ = fs::remove_file(&new);
    }
    written
}

/// Writes a new file and syncs it, but not its folder.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(StoreError::io("make", path))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(StoreError::io("write", path))
}

/// Gives a file or folder another name, for good.
pub(crate) fn rename_synced(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(StoreError::io("give its name to", to))?;
    sync_folder_of(to)
}

/// Sees to it that names given and taken in the folder of `path` stay so.
pub(crate) fn sync_folder_of(path: &Path) -> Result<(), StoreError> {
    sync_folder(folder_of(path))
}

/// Sees to it that names given and taken in `folder` stay so.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(StoreError::io("sync", folder))
}

/// Reads a whole file that is not longer than `bytes_max`.
pub(crate) fn read_file(path: &Path, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
    let file = File::open(path).map_err(StoreError::io("open", path))?;
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(StoreError::io("read", path))?;
    if bytes.len() as u64 > bytes_max {
        return Err(StoreError::metadata(path, format!("the file is longer than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// Removes a file; that it is gone already is well, too.
pub(crate) fn remove_file(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Removes a folder with all that is in it; that it is gone already is well, too.
pub(crate) fn remove_folder(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// A name that nobody else takes; `path` is what it is for.
pub(crate) fn random_name(path: &Path) -> Result<String, StoreError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|error| StoreError::io("find a name for", path)(io::Error::other(error.to_string())))?;
    Ok(hex(&bytes))
}
