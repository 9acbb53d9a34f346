//! A raw disk that looks like something else: refused where a person said that it is raw.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::host_file::{HostFile, Kind, OpenError};
use crate::signature::{Signature, SignatureKind, recognize};
use crate::source::{SourceFormat, measure};

/// Which contents a raw disk may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawContents {
    /// None that look like another format: a person said that the disk is raw, in this way, and may be wrong.
    Checked(&'static StatedBy),
    /// Any. The disk is known to be raw, or its contents were forced: a guest may write what it likes.
    Any,
}

/// How a person says which format a disk has, for advice.
#[derive(Debug, PartialEq, Eq)]
pub struct StatedBy {
    /// What stands before the format: `--from `.
    pub option: &'static str,
    /// What takes the disk as raw, whatever it looks like: `--force-raw`.
    pub force: &'static str,
    /// Whether formats can be named that no machine runs on.
    pub takes_foreign: bool,
    /// Whether compressed files and archives are taken, if no format is named.
    pub takes_packed: bool,
}

/// What a disk that was said to be raw looks like, and how it would be used rightly.
#[derive(Debug, PartialEq, Eq)]
pub struct Disguise {
    path: PathBuf,
    looks: &'static Signature,
    stated: &'static StatedBy,
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
    let host = HostFile { file: Arc::new(file), kind: Kind::File, size_bytes, path: path.to_owned() };
    RawContents::Checked(stated).check(&host)
}

impl Disguise {
    fn advice(&self) -> String {
        let StatedBy { option, takes_foreign, takes_packed, .. } = self.stated;
        match self.looks.kind {
            SignatureKind::Disk(format) if *takes_foreign || format.for_machines().is_some() => {
                format!("give {option}{format}")
            }
            SignatureKind::Disk(format) => self.converted(format),
            SignatureKind::Compressed(_) | SignatureKind::Zip | SignatureKind::Tar if *takes_packed => {
                "leave the format out, and what is in it is found".to_owned()
            }
            SignatureKind::Compressed(_) | SignatureKind::ForeignCompression | SignatureKind::Zip => {
                "unpack it first".to_owned()
            }
            SignatureKind::Tar | SignatureKind::ForeignArchive => "take the disk out of it first".to_owned(),
            SignatureKind::ForeignDisk => "convert it first, for example with qemu-img".to_owned(),
        }
    }

    fn converted(&self, format: SourceFormat) -> String {
        let path = self.path.display();
        format!("make a disk of it by 'yagura disk convert {path} NEW.qcow2 --from {format} --to qcow2'")
    }
}

impl fmt::Display for Disguise {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, looks, force) = (self.path.display(), self.looks, self.stated.force);
        let advice = self.advice();
        write!(
            out,
            "disk {path} is said to be raw, and is {looks} by its contents: {advice}; \
             if it is raw all the same, add {force}"
        )
    }
}
