//! Names of formats, and what an image says of itself.

use std::fmt;
use std::str::FromStr;

use image_model::DiskFormat;

/// How a disk that is imported lies in its file. Machines run on [`DiskFormat`]s only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceFormat {
    /// Each byte where it is.
    Raw,
    /// QEMU's copy-on-write format.
    Qcow2,
    /// Hyper-V's format, fixed or dynamic.
    Vhdx,
    /// VMware's format: in one file, sparse or stream-optimized, or a descriptor with files beside it.
    Vmdk,
    /// Virtual PC's format, and Azure's: fixed or dynamic.
    Vhd,
    /// VirtualBox's format, fixed or dynamic.
    Vdi,
}

impl SourceFormat {
    /// All there are.
    pub const ALL: [SourceFormat; 6] = [
        SourceFormat::Raw,
        SourceFormat::Qcow2,
        SourceFormat::Vhdx,
        SourceFormat::Vmdk,
        SourceFormat::Vhd,
        SourceFormat::Vdi,
    ];

    /// As a person writes it.
    pub fn name(self) -> &'static str {
        match self {
            SourceFormat::Raw => "raw",
            SourceFormat::Qcow2 => "qcow2",
            SourceFormat::Vhdx => "vhdx",
            SourceFormat::Vmdk => "vmdk",
            SourceFormat::Vhd => "vhd",
            SourceFormat::Vdi => "vdi",
        }
    }

    /// The format as one that a machine can run on.
    pub fn for_machines(self) -> Option<DiskFormat> {
        match self {
            SourceFormat::Raw => Some(DiskFormat::Raw),
            SourceFormat::Qcow2 => Some(DiskFormat::Qcow2),
            SourceFormat::Vhdx | SourceFormat::Vmdk | SourceFormat::Vhd | SourceFormat::Vdi => None,
        }
    }
}

impl From<DiskFormat> for SourceFormat {
    fn from(format: DiskFormat) -> SourceFormat {
        match format {
            DiskFormat::Raw => SourceFormat::Raw,
            DiskFormat::Qcow2 => SourceFormat::Qcow2,
        }
    }
}

impl fmt::Display for SourceFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SourceFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<SourceFormat, String> {
        let found = SourceFormat::ALL.into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| {
            let names = SourceFormat::ALL.map(SourceFormat::name);
            let hint = messages::did_you_mean(text, names);
            format!("'{text}' is not a disk format that can be read (there are {}){hint}", names.join(", "))
        })
    }
}

/// How compressed clusters are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Raw deflate.
    #[default]
    Zlib,
    /// A zstd frame.
    Zstd,
}

/// The file behind an image, as the image names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackingName {
    /// Its path; a relative one starts at the image's folder.
    pub path: String,
    /// `raw`, `qcow2`, or something that we do not read.
    pub format: Option<String>,
}

/// What a qcow2 header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qcow2Info {
    /// 2 or 3.
    pub version: u32,
    /// Cluster size.
    pub cluster_bytes: u64,
    /// Width of a reference count.
    pub refcount_bits: u32,
    /// How clusters are compressed, if any are.
    pub compression: Compression,
    /// A writer may defer its reference counts.
    pub lazy_refcounts: bool,
    /// Such a writer has not closed it.
    pub dirty: bool,
    /// Marked as corrupt.
    pub corrupt: bool,
    /// What is behind it.
    pub backing: Option<BackingName>,
    /// Internal snapshots.
    pub snapshots: u32,
}
