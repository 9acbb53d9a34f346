//! What can be typed after `yagura disk`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use disk::{DiskFormat, SourceFormat};
use image_model::NameError;
use vm_spec::{BadValue, DiskSize, FileMode, cluster_bytes};

use crate::cli::Format;

/// `yagura disk`
#[derive(Subcommand, Debug)]
#[command(after_help = NOTES, subcommand_required = true)]
pub enum DiskCommand {
    /// Make an empty disk, or one in front of another
    Create(CreateArguments),
    /// Make a disk larger
    Resize(ResizeArguments),
    /// Copy a disk into another format
    Convert(ConvertArguments),
    /// Look for damage in a qcow2 image
    #[command(after_help = CHECK_NOTES)]
    Check(CheckArguments),
    /// Show what an image is
    Info(InfoArguments),
    /// Show which part of a disk lies where
    Map(InfoArguments),
}

/// `yagura disk create`
#[derive(Args, Debug)]
pub struct CreateArguments {
    /// The file to make
    pub path: PathBuf,
    /// Permissions of the file in octal digits, such as 0640 [default: 0600]
    #[arg(long, value_name = "MODE")]
    pub mode: Option<FileMode>,
    /// Length of the disk, such as 10G [default: that of the backing file]
    #[arg(long, value_name = "SIZE", required_unless_present = "backing")]
    pub size: Option<DiskSize>,
    /// What to make: raw or qcow2
    #[arg(long, value_name = "FORMAT", default_value = "qcow2", value_parser = parse_format)]
    pub disk_format: DiskFormat,
    /// What a qcow2 image is like.
    #[command(flatten)]
    pub image: ImageArguments,
    /// How compressed clusters will be compressed: zlib or zstd [default: zlib]
    #[arg(long, value_name = "KIND")]
    pub compression: Option<CompressionKind>,
    /// Show this disk where the new one was not written to; it must not change any more
    #[arg(long, value_name = "FILE", requires = "backing_format")]
    pub backing: Option<PathBuf>,
    /// The format of the backing file
    #[arg(long, value_name = "FORMAT", value_parser = parse_format, requires = "backing")]
    pub backing_format: Option<DiskFormat>,
    /// Take a backing file as raw even if it looks like another format
    #[arg(long, requires = "backing")]
    pub force_raw: bool,
}

/// What a qcow2 image is like.
#[derive(Args, Debug, Default)]
pub struct ImageArguments {
    /// Cluster size of a qcow2 image, 512B to 2M [default: 64K]
    #[arg(long, value_name = "SIZE", value_parser = cluster_bytes)]
    pub cluster_size: Option<u64>,
    /// Width of a qcow2 image's reference counts, 1 to 64 [default: 16]
    #[arg(long, value_name = "BITS")]
    pub refcount_bits: Option<u32>,
    /// Version of the format, 2 or 3 [default: 3]
    #[arg(long, value_name = "VERSION")]
    pub qcow2_version: Option<u32>,
    /// Let other writers of a qcow2 image defer its reference counts
    #[arg(long)]
    pub lazy_refcounts: bool,
}

/// `yagura disk resize`
#[derive(Args, Debug)]
pub struct ResizeArguments {
    /// The image
    pub path: PathBuf,
    /// Its new length, such as 20G
    pub size: DiskSize,
    /// What it is: raw or qcow2
    #[arg(long, value_name = "FORMAT", value_parser = parse_format)]
    pub disk_format: DiskFormat,
    /// Take it as raw even if it looks like another format
    #[arg(long)]
    pub force_raw: bool,
}

/// `yagura disk convert`
#[derive(Args, Debug)]
pub struct ConvertArguments {
    /// The disk to read
    pub source: PathBuf,
    /// The file to make, or a block device to write to as raw
    pub target: PathBuf,
    /// Permissions of the file in octal digits, such as 0640 [default: 0600]
    #[arg(long, value_name = "MODE")]
    pub mode: Option<FileMode>,
    /// What is read: raw, qcow2, vhdx, vmdk, vhd or vdi
    #[arg(long, value_name = "FORMAT", value_parser = parse_source_format)]
    pub from: SourceFormat,
    /// Take it as raw even if it looks like another format
    #[arg(long)]
    pub force_raw: bool,
    /// What is made: raw or qcow2
    #[arg(long, value_name = "FORMAT", value_parser = parse_format)]
    pub to: DiskFormat,
    /// Compress what becomes smaller by it, with zlib or zstd
    #[arg(long, value_name = "KIND", num_args = 0..=1, default_missing_value = "zstd", require_equals = true)]
    pub compress: Option<CompressionKind>,
    /// Fail if the source names a file behind it, as for images from somebody else
    #[arg(long)]
    pub refuse_backing: bool,
    /// What a qcow2 image is like.
    #[command(flatten)]
    pub image: ImageArguments,
}

/// `yagura disk check`
#[derive(Args, Debug)]
pub struct CheckArguments {
    /// The qcow2 image; nothing else may use it
    pub path: PathBuf,
    /// Put right what can be: room that was lost (leaks), or all wrong reference counts (counts)
    #[arg(long, value_name = "WHAT")]
    pub repair: Option<RepairKind>,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// `yagura disk info` and `yagura disk map`
#[derive(Args, Debug)]
pub struct InfoArguments {
    /// The image
    pub path: PathBuf,
    /// What it is: raw or qcow2
    #[arg(long, value_name = "FORMAT", value_parser = parse_format)]
    pub disk_format: DiskFormat,
    /// Take it as raw even if it looks like another format
    #[arg(long)]
    pub force_raw: bool,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// Ways to compress.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompressionKind {
    /// Deflate; what every reader knows.
    Zlib,
    /// Faster and smaller.
    Zstd,
}

impl From<CompressionKind> for disk::Compression {
    fn from(kind: CompressionKind) -> disk::Compression {
        match kind {
            CompressionKind::Zlib => disk::Compression::Zlib,
            CompressionKind::Zstd => disk::Compression::Zstd,
        }
    }
}

/// What a check puts right.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairKind {
    /// Counts that are too high.
    Leaks,
    /// Counts that are wrong.
    Counts,
}

/// A disk's format as it was typed.
pub fn parse_format(text: &str) -> Result<DiskFormat, BadValue> {
    text.parse().map_err(|NameError(why)| BadValue(why))
}

fn parse_source_format(text: &str) -> Result<SourceFormat, BadValue> {
    text.parse().map_err(BadValue)
}

const NOTES: &str = "\
Examples:
  yagura disk create root.qcow2 --size 10G
  yagura disk create web1.qcow2 --backing debian-12.qcow2 --backing-format qcow2
  yagura disk convert debian-12.img debian-12.qcow2 --from raw --to qcow2 --compress
  yagura disk convert exported.vmdk imported.qcow2 --from vmdk --to qcow2
  yagura disk resize web1.qcow2 20G --disk-format qcow2
  yagura disk check web1.qcow2
  yagura disk info web1.qcow2 --disk-format qcow2 -f json

Formats are always said, never guessed: a guest can make its disk look like an image that names
a file of this host. What is said to be raw and looks like another format is refused, unless --force-raw
is given. An image that a machine uses cannot be changed at the same time. A file that is made appears
whole or not at all, and takes the place of nothing.";

const CHECK_NOTES: &str = "\
Exit status:
  0  the image is sound
  1  it cannot be checked or repaired
  4  room is lost, and no data: --repair leaks brings it back
  6  it is damaged";
