//! What is said of a raw disk that looks like something else.

use std::fmt;
use std::path::PathBuf;

use crate::format::SourceFormat;
use crate::signature::{Signature, SignatureKind};

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
    pub(crate) path: PathBuf,
    pub(crate) looks: &'static Signature,
    pub(crate) stated: &'static StatedBy,
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
