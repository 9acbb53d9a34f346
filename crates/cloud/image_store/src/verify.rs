//! Finding blobs that are not what their names say.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::durable;
use crate::error::StoreError;
use crate::images::list_folder;
use crate::metadata::Image;
use vm_spec::VmName;

use crate::sparse;
use crate::store::Store;
use image_model::Digest;

/// What is wrong with a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// Its bytes are others; it was moved to this path.
    Changed(PathBuf),
    /// It is not there.
    Missing,
}

/// A blob that is not as it should be, and what needs it.
///
/// An image among `images` whose source [can be fetched again](crate::ImageSource::can_be_fetched_again) is
/// made whole by fetching it and handing the blob to [`Store::restore_blob`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedBlob {
    /// What it should be.
    pub blob: Digest,
    /// What is wrong.
    pub kind: DamageKind,
    /// Images that consist of it.
    pub images: Vec<Image>,
    /// Instances whose disks may lie upon it. Their disks are raw copies, and sound, where the file system
    /// shares blocks.
    pub instances: Vec<VmName>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Blobs that were looked at.
    pub blobs: u64,
    /// Their bytes, holes included.
    pub bytes: u64,
    /// What is wrong with blobs.
    pub damaged: Vec<DamagedBlob>,
    /// Metadata that could not be read: why, and where it was moved. Its image is gone and has to be had
    /// anew.
    pub damaged_metadata: Vec<(String, PathBuf)>,
}

impl Store {
    /// Reads all metadata and hashes all blobs. What is damaged is moved aside, so that nothing starts from
    /// it. `progress` is told the bytes hashed and the bytes in all.
    ///
    /// # Errors
    /// What the host refuses; damage is no error.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<VerifyReport, StoreError> {
        let mut report =
            VerifyReport { damaged_metadata: self.verify_metadata()?, ..VerifyReport::default() };
        let users = self.users()?;
        let present = self.blob_ids()?;
        let lengths: Vec<u64> = present.iter().map(|blob| self.length(blob)).collect();
        let total = lengths.iter().sum();
        for (blob, length) in present.iter().zip(lengths) {
            let before = report.bytes;
            if let Some(path) = self.verify_blob(blob, &mut |done, _| progress(before + done, total))? {
                report.damaged.push(users.damaged(blob, DamageKind::Changed(path)));
            }
            report.blobs += 1;
            report.bytes += length;
        }
        report.damaged.extend(self.missing(&report.damaged)?);
        Ok(report)
    }

    /// What is needed and not there, but for what was just moved aside. Nothing goes while this looks.
    fn missing(&self, moved: &[DamagedBlob]) -> Result<Vec<DamagedBlob>, StoreError> {
        let _lock = self.lock_shared()?;
        let users = self.users()?;
        let is_known = |blob: &Digest| moved.iter().any(|damaged| damaged.blob == *blob);
        let missing = users.0.keys().filter(|blob| !self.has_blob(blob) && !is_known(blob));
        Ok(missing.map(|blob| users.damaged(blob, DamageKind::Missing)).collect())
    }

    /// Hashes a blob; if it is damaged, moves it aside and says where.
    fn verify_blob(
        &self,
        blob: &Digest,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Option<PathBuf>, StoreError> {
        let path = self.blob_path(blob);
        match sparse::hash_file(&path, progress) {
            Ok(found) if found == *blob => Ok(None),
            // Garbage collection was faster.
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            // A disk that cannot be read is damage, too.
            Ok(_) | Err(StoreError::Io { operation: "read", .. }) => self.move_aside(&path).map(Some),
            Err(error) => Err(error),
        }
    }

    fn verify_metadata(&self) -> Result<Vec<(String, PathBuf)>, StoreError> {
        let mut damaged = Vec::new();
        for id in self.image_ids()? {
            match self.image(&id) {
                Err(StoreError::Metadata { .. }) => {
                    damaged.push((id.short(), self.move_aside(&self.layout.image(&id))?));
                }
                Ok(_) | Err(StoreError::NoSuchImage { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(damaged)
    }

    fn move_aside(&self, path: &Path) -> Result<PathBuf, StoreError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let target = self.layout.damaged().join(format!("{name}.{}", durable::random_name(path)?));
        let _lock = self.lock_exclusive()?;
        fs::rename(path, &target).map_err(StoreError::io("move aside", path))?;
        durable::sync_folder_of(path)?;
        Ok(target)
    }

    fn users(&self) -> Result<Users, StoreError> {
        let mut users = Users::default();
        for image in self.images()? {
            for blob in image.metadata.blobs() {
                users.0.entry(blob).or_default().0.push(image.clone());
            }
        }
        for (name, image) in self.instances()? {
            for blob in image.metadata.blobs() {
                users.0.entry(blob).or_default().1.push(name.clone());
            }
        }
        Ok(users)
    }

    /// The blobs that are there.
    pub(crate) fn blob_ids(&self) -> Result<Vec<Digest>, StoreError> {
        let paths = list_folder(&self.layout.blobs())?;
        Ok(paths.iter().filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect())
    }

    fn length(&self, blob: &Digest) -> u64 {
        fs::metadata(self.blob_path(blob)).map_or(0, |metadata| metadata.len())
    }
}

/// Who needs which blob.
#[derive(Default)]
struct Users(BTreeMap<Digest, (Vec<Image>, Vec<VmName>)>);

impl Users {
    fn damaged(&self, blob: &Digest, kind: DamageKind) -> DamagedBlob {
        let (images, instances) = self.0.get(blob).cloned().unwrap_or_default();
        DamagedBlob { blob: *blob, kind, images, instances }
    }
}
