//! What goes into an import and what comes out of it.

use std::os::fd::BorrowedFd;
use std::path::Path;

use disk::SourceFormat;
use image_model::Digest;
use oci_image::{ByteRange, LayerCompression};
use serde::{Deserialize, Serialize};

use image_model::Compression;

/// An open file with a disk in it.
#[derive(Clone, Copy, Debug)]
pub struct DiskFile<'a> {
    /// Open for reading only.
    pub file: BorrowedFd<'a>,
    /// Where in the file it lies, if that is not all of it.
    pub range: Option<ByteRange>,
    /// As it was stated.
    pub format: SourceFormat,
    /// What messages call it; nobody opens it.
    pub name: &'a Path,
}

impl<'a> DiskFile<'a> {
    /// A disk that is all of a file.
    pub fn new(file: BorrowedFd<'a>, format: SourceFormat, name: &'a Path) -> DiskFile<'a> {
        DiskFile { file, range: None, format, name }
    }
}

/// An open file, or a range of one.
#[derive(Clone, Copy, Debug)]
pub struct InputFile<'a> {
    /// Open for reading only.
    pub file: BorrowedFd<'a>,
    /// Where in the file, if it is not all of it.
    pub range: Option<ByteRange>,
    /// What messages call it; nobody opens it.
    pub name: &'a Path,
}

/// What a file is, by its contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recognized {
    /// A disk in a format that says so itself; a raw one where a partition table or a file system is found, and nothing
    /// else that is known.
    Disk(#[serde(with = "format_name")] SourceFormat),
    /// A file that is compressed, or the one in an archive.
    Compressed(Compression),
    /// An appliance in an archive (OVA).
    Appliance,
    /// Another tar archive: an OCI image's, if anything that is read here.
    OciArchive,
    /// Something known that is not read here, with an article.
    Foreign(String),
    /// Nothing that is known.
    Unknown,
}

/// Formats by their names.
pub(crate) mod format_name {
    use disk::SourceFormat;
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
    pub(crate) fn serialize<S: Serializer>(format: &SourceFormat, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(format.name())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<SourceFormat, D::Error> {
        String::deserialize(input)?.parse().map_err(de::Error::custom)
    }
}

/// How a disk is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Sectors that its partition table counts in, in bytes: 512 or 4096; nothing where it has none.
    pub sector_bytes: Option<u32>,
}

/// What a file says about the disk in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// Length of the disk in bytes.
    pub size_bytes: u64,
    /// What kind of its format it is, in words, such as "streamOptimized".
    pub kind: String,
    /// The file behind it, as it names it. Such an image cannot be imported.
    pub backing: Option<String>,
    /// The files beside it that hold its data, as it names them.
    pub extents: Vec<String>,
}

/// What became of a disk that was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Converted {
    /// Length of the disk, and of the raw file, in bytes.
    pub size_bytes: u64,
    /// What of it holds data, in bytes.
    pub data_bytes: u64,
}

/// Empty files for what a disk boots with, open for writing.
#[derive(Clone, Copy, Debug)]
pub struct BootOutputs<'a> {
    /// For the kernel.
    pub kernel: BorrowedFd<'a>,
    /// For the initial RAM disk; stays empty if there is none.
    pub initrd: BorrowedFd<'a>,
}

/// What a disk boots with. All of it comes out of the image: text to show, and names that mean something in the
/// guest only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Boot {
    /// Length of the kernel, in bytes.
    pub kernel_bytes: u64,
    /// Length of the initial RAM disks, one behind the other, in bytes; 0 for none.
    pub initrd_bytes: u64,
    /// The kernel's command line, without line breaks.
    pub cmdline: String,
    /// Where the kernel was found on the disk.
    pub kernel_path: String,
    /// Where the choice comes from, such as `/boot/grub/grub.cfg: Debian GNU/Linux`.
    pub chosen_by: String,
    /// What a person should know: what was added, what is damaged, what was passed over.
    pub notes: Vec<String>,
    /// The guest's `os-release`: keys as there, such as `ID`, and values. Those that it does not have are left out.
    pub os_release: Vec<(String, String)>,
    /// The root file system, where it is known.
    pub root: Option<BootRoot>,
    /// The entry that the boot loader is to start once (GRUB's `next_entry`), whether it was taken now or before.
    pub next_entry: Option<String>,
}

/// A root file system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootRoot {
    /// Which file system it is, such as `ext4`.
    pub kind: String,
    /// The partition's number; nothing where it fills the disk.
    pub partition: Option<u32>,
    /// As `root=UUID=` names it.
    pub uuid: Option<String>,
    /// As `root=PARTUUID=` names its partition.
    pub partition_uuid: Option<String>,
    /// The subvolume of btrfs that is the root, where that is not the default one.
    pub subvolume: Option<String>,
}

/// An OCI layer: a tar archive in a range of a file.
#[derive(Clone, Debug)]
pub struct LayerFile<'a> {
    /// Open for reading only. Layers of one file share its descriptor.
    pub file: BorrowedFd<'a>,
    /// Where in the file it lies.
    pub range: ByteRange,
    /// As the manifest states it.
    pub compression: LayerCompression,
    /// The SHA-256 that it has to have when it is decompressed; nothing for a layer that is not foreign.
    pub diff_id: Option<Digest>,
    /// What messages call it.
    pub name: String,
}

/// What became of layers that were merged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merged {
    /// Entries of the archive that was written.
    pub entries: u64,
    /// Bytes of files in it, each hard-linked file once.
    pub data_bytes: u64,
    /// Length of the archive.
    pub archive_bytes: u64,
    /// What is not in it.
    pub dropped: Dropped,
}

/// How many entries were left out or changed, for what reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Device nodes.
    pub devices: u64,
    /// Names with `..` in them.
    pub outside: u64,
    /// Hard links to what is not in the tree, symbolic ones to nothing.
    pub links: u64,
    /// Kinds of entries that nobody knows.
    pub unknown: u64,
    /// Extended attributes other than `security.capability` and those of users.
    pub attributes: u64,
    /// Absolute names that were made relative. They are in the tree.
    pub made_relative: u64,
    /// Symbolic links that climbed above the root; they end there now, as they do in a guest.
    pub shortened: u64,
}
