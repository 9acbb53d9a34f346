//! A raw disk that looks like something else: refused where a person said that it is raw.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use crate::disguise::{Disguise, StatedBy};
use crate::error::OpenError;
use crate::host_file::{HostFile, measure};
use crate::signature::recognize;

/// Which contents a raw disk may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawContents {
    /// None that look like another format: a person said that the disk is raw, in this way, and may be wrong.
    Checked(&'static StatedBy),
    /// Any. The disk is known to be raw, or its contents were forced: a guest may write what it likes.
    Any,
}

impl RawContents {
    /// Refuses what looks like another format.
    pub(crate) fn check(self, host: &HostFile) -> Result<(), OpenError> {
        let RawContents::Checked(stated) = self else { return Ok(()) };
        let path = &host.path;
        let looks = recognize(&host.file, 0, host.size_bytes).map_err(|source| OpenError::Io {
            path: path.clone(),
            operation: "look into",
            source,
        })?;
        looks
            .map_or(Ok(()), |looks| Err(OpenError::Disguised(Disguise { path: path.clone(), looks, stated })))
    }
}

/// Refuses a raw disk in `file`, which messages call `path`, that looks like another format.
///
/// # Errors
/// It does, or cannot be read.
pub fn check_raw(file: &File, path: &Path, stated: &'static StatedBy) -> Result<(), OpenError> {
    let failed = |source| OpenError::Io { path: path.to_owned(), operation: "look into", source };
    let file = file.try_clone().map_err(failed)?;
    let size_bytes = measure(&file).map_err(failed)?;
    let host = HostFile::regular(Arc::new(file), size_bytes, path);
    RawContents::Checked(stated).check(&host)
}
