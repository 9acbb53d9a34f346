//! Taking images out of the store.

use disk::Output;

use crate::ByteProgress;
use crate::error::StoreError;
use crate::metadata::Image;
use crate::sparse;
use crate::store::Store;
use image_model::Digest;

impl Store {
    /// Copies a blob to a new file, with shared blocks where both are on a file system that can, else as a
    /// sparse copy. Returns its length in bytes.
    ///
    /// # Errors
    /// The file is there, the blob is not, or there is no room; then there is no file.
    pub fn export_blob<'a>(
        &self,
        blob: &Digest,
        target: impl Into<Output<'a>>,
        progress: ByteProgress<'_>,
    ) -> Result<u64, StoreError> {
        sparse::clone_or_copy(&self.blob_path(blob), target.into(), progress)
    }

    /// Copies an image's disk to a new raw file. For another format, convert [`Store::blob_path`] of the
    /// disk.
    ///
    /// # Errors
    /// As for [`Store::export_blob`].
    pub fn export_disk<'a>(
        &self,
        image: &Image,
        target: impl Into<Output<'a>>,
        progress: ByteProgress<'_>,
    ) -> Result<u64, StoreError> {
        let blob = image.metadata.disk;
        if !self.has_blob(&blob) {
            return Err(StoreError::MissingBlob { image: self.name_of(image) });
        }
        self.export_blob(&blob, target, progress)
    }
}
