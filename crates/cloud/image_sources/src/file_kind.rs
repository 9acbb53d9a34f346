//! What a file holds, as it is stated: by a person, by the catalogue, or by the file's name. Its bytes are
//! not asked here.

use std::fmt::{self, Display};
use std::path::Path;
use std::str::FromStr;

use disk::SourceFormat;
use image_model::Compression;

/// How a disk or an image lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// A disk alone.
    Disk(SourceFormat),
    /// A machine in an archive.
    Ova,
    /// The description of a machine, with its disk beside it.
    Ovf,
    /// An OCI image in an archive, or what `docker save` writes.
    OciArchive,
}

impl FileFormat {
    const ALL: [FileFormat; 9] = [
        FileFormat::Disk(SourceFormat::Raw),
        FileFormat::Disk(SourceFormat::Qcow2),
        FileFormat::Disk(SourceFormat::Vmdk),
        FileFormat::Disk(SourceFormat::Vhdx),
        FileFormat::Disk(SourceFormat::Vhd),
        FileFormat::Disk(SourceFormat::Vdi),
        FileFormat::Ova,
        FileFormat::Ovf,
        FileFormat::OciArchive,
    ];

    /// As a person writes it.
    pub fn name(self) -> &'static str {
        match self {
            FileFormat::Disk(format) => format.name(),
            FileFormat::Ova => "ova",
            FileFormat::Ovf => "ovf",
            FileFormat::OciArchive => "oci",
        }
    }

    /// All names, for a message.
    pub fn names() -> String {
        FileFormat::ALL.map(FileFormat::name).join(", ")
    }

    /// The ending of a file's name that says it without doubt. `.img` does not: it is raw for some and qcow2 for
    /// others.
    fn ending(self) -> &'static str {
        match self {
            FileFormat::OciArchive => "tar",
            other => other.name(),
        }
    }
}

/// A format, perhaps within a compression: `qcow2`, `raw.xz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileKind {
    /// What is in it.
    pub format: FileFormat,
    /// Around that.
    pub compression: Compression,
}

/// A format that is not known, or a name that does not say it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FileKindError(String);

impl FromStr for FileKind {
    type Err = FileKindError;

    fn from_str(text: &str) -> Result<FileKind, FileKindError> {
        let (name, compression) = split(text);
        let format = FileFormat::ALL.into_iter().find(|format| format.name() == name);
        let format = format.ok_or_else(|| {
            let text = text.escape_default();
            FileKindError(format!(
                "'{text}' is not a format (there are {}; also with .gz, .xz, .zst, .bz2 or .zip behind them)",
                FileFormat::names()
            ))
        })?;
        Ok(FileKind { format, compression })
    }
}

impl FileKind {
    /// What the name of a file that a person gave says; nothing where it says nothing that is sure.
    pub fn of_name(path: &Path) -> Option<FileKind> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let name = name.strip_suffix(".tgz").map(|stem| format!("{stem}.tar.gz")).unwrap_or(name);
        let (name, compression) = split(&name);
        let ending = name.rsplit_once('.').map(|(_, ending)| ending).unwrap_or_default();
        let format = FileFormat::ALL.into_iter().find(|format| format.ending() == ending)?;
        Some(FileKind { format, compression })
    }
}

impl Display for FileKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.format.name())?;
        self.compression.ending().map_or(Ok(()), |ending| write!(out, ".{ending}"))
    }
}

/// A name without the ending of its compression, and that.
fn split(name: &str) -> (&str, Compression) {
    let split = name.rsplit_once('.');
    split
        .and_then(|(stem, ending)| Some((stem, Compression::of_ending(ending)?)))
        .unwrap_or((name, Compression::None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_in_files_or_do_not() {
        for (name, kind) in [
            ("a/Debian.qcow2", "qcow2"),
            ("x.raw.xz", "raw.xz"),
            ("X.QCOW2.GZ", "qcow2.gz"),
            ("i.tar", "oci"),
            ("i.tgz", "oci.gz"),
            ("d.vmdk", "vmdk"),
            ("d.raw.zst", "raw.zst"),
            ("a.vhd.zip", "vhd.zip"),
            ("a.vdi", "vdi"),
            ("a.qcow2.bz2", "qcow2.bz2"),
            ("A.OVA", "ova"),
            ("a.vmdk.gz", "vmdk.gz"),
        ] {
            assert_eq!(FileKind::of_name(Path::new(name)).unwrap().to_string(), kind, "{name}");
            assert_eq!(kind.parse::<FileKind>().unwrap().to_string(), kind);
        }
        for name in ["disk.img", "disk", ".", "x.xz", "x.bz2", "x.zip", "x.img.gz", "qcow2", "x.iso"] {
            assert_eq!(FileKind::of_name(Path::new(name)), None, "{name}");
        }
        for kind in ["", "img", "xz", "raw.bz", "raw.xz.xz", "tar", "vpc"] {
            assert!(kind.parse::<FileKind>().is_err(), "{kind}");
        }
    }
}
