//! What can be typed after `yagura image`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use disk::DiskFormat;
use image_model::{Alias, Checksum, FirstBoot, ImageReference, ImageSource, MachineDefaults};
use image_ops::ImportOptions;
use image_sources::FileKind;
use vm_spec::{BlockSize, FileMode, MemorySize, VmName};

use crate::cli::{Format, ListFormat};
use crate::disk_images::arguments::parse_format;

/// `yagura image`
#[derive(Subcommand, Debug)]
#[command(after_help = NOTES, subcommand_required = true)]
pub enum ImageCommand {
    /// Show the images that are here
    List(ListArguments),
    /// Show what is known of an image
    Show(ShowArguments),
    /// Bring an image here: from its vendor, or built from packages
    Pull(PullArguments),
    /// Build an image from Debian's packages
    Build(BuildArguments),
    /// Take a disk in a file in as an image
    Import(ImportArguments),
    /// Copy an image's disk to a file
    Export(ExportArguments),
    /// Forget an image; instances that were made of it keep what they need
    Delete(DeleteArguments),
    /// Give an image another name, or take a name away
    Alias(AliasArguments),
    /// Make an image of an instance that does not run
    Publish(PublishArguments),
    /// Read everything that is kept, and find what was damaged
    Verify,
    /// Remove what nothing refers to any more
    Gc(GcArguments),
}

/// `yagura image list`
#[derive(Args, Debug)]
pub struct ListArguments {
    /// Show the names that can be pulled, too
    #[arg(long)]
    pub all: bool,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = ListFormat::Table)]
    pub format: ListFormat,
}

/// `yagura image show`
#[derive(Args, Debug)]
pub struct ShowArguments {
    /// The image: a name, or the first eight or more digits of its digest
    pub image: ImageReference,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// `yagura image pull`
#[derive(Args, Debug)]
pub struct PullArguments {
    /// A name of the catalogue such as debian/12, an address, or oci:REGISTRY/NAME:TAG
    #[arg(value_name = "IMAGE")]
    pub source: String,
    /// Name of the new image
    #[arg(long, value_name = "NAME")]
    pub alias: Option<Alias>,
    /// What is at the address, such as qcow2 or raw.xz [default: as it ends, else what its contents say]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<FileKind>,
    /// Checksum of the file at the address, such as sha256:HEX
    #[arg(long, value_name = "CHECKSUM")]
    pub checksum: Option<Checksum>,
    /// What cannot be found out.
    #[command(flatten)]
    pub about: AboutArguments,
}

/// `yagura image build`
#[derive(Args, Debug)]
pub struct BuildArguments {
    /// A recipe that comes with the program, such as debian/12
    #[arg(required_unless_present = "recipe")]
    pub name: Option<Alias>,
    /// A recipe of your own
    #[arg(long, value_name = "FILE.toml", conflicts_with = "name")]
    pub recipe: Option<PathBuf>,
}

/// `yagura image import`
#[derive(Args, Debug)]
pub struct ImportArguments {
    /// The file with the disk
    pub path: PathBuf,
    /// Name of the new image, such as my/server
    #[arg(long, value_name = "NAME")]
    pub alias: Option<Alias>,
    /// What the file is: raw, qcow2, vmdk, vhdx, vhd, vdi, ova, ovf or oci, perhaps with .gz, .xz, .zst, .bz2 or .zip
    /// [default: as its name ends, else what its contents say]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<FileKind>,
    /// Take the disk as raw even if it looks like another format
    #[arg(long)]
    pub force_raw: bool,
    /// What cannot be found out.
    #[command(flatten)]
    pub about: AboutArguments,
}

/// What a person says about a disk that comes from nowhere in particular.
#[derive(Args, Clone, Debug)]
pub struct AboutArguments {
    /// Operating system [default: what the disk says]
    #[arg(long, value_name = "NAME")]
    pub os: Option<String>,
    /// Its release [default: what the disk says]
    #[arg(long, value_name = "RELEASE")]
    pub release: Option<String>,
    /// A line about it
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// What configures an instance of it [default: cloud-init]
    #[arg(long, value_name = "cloud-init|service|none")]
    pub first_boot: Option<FirstBoot>,
    /// Who logs in
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Memory that it needs [default: 256M]
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<MemorySize>,
    /// Size of the disk's blocks, 512 or 4096 [default: what its partition table says, else 512]
    #[arg(long, value_name = "BYTES")]
    pub block_size: Option<BlockSize>,
    /// Which disk of an appliance (ova, ovf) becomes the image: its file's name, or its number from 1 on [default: the
    /// only one]
    #[arg(long = "disk", value_name = "NAME|N")]
    pub appliance_disk: Option<String>,
}

impl AboutArguments {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        let AboutArguments { os, release, description, first_boot, user, memory, block_size, appliance_disk } =
            self;
        let texts = [os, release, description, user, appliance_disk];
        let sizes = memory.is_none() && block_size.is_none();
        texts.into_iter().all(Option::is_none) && first_boot.is_none() && sizes
    }

    /// The same, about an image from `source`.
    pub fn options(&self, source: ImageSource) -> ImportOptions {
        let AboutArguments { os, release, description, first_boot, user, memory, block_size, appliance_disk } =
            self.clone();
        let block_bytes = block_size.map(BlockSize::bytes);
        let usual = ImportOptions::of(source);
        ImportOptions {
            os,
            release,
            description,
            first_boot: first_boot.unwrap_or(usual.first_boot),
            default_user: user,
            min_memory_bytes: memory.map_or(usual.min_memory_bytes, MemorySize::bytes),
            machine: MachineDefaults { block_bytes, ..usual.machine },
            appliance_disk,
            ..usual
        }
    }
}

/// `yagura image export`
#[derive(Args, Debug)]
pub struct ExportArguments {
    /// The image
    pub image: ImageReference,
    /// The file to make, or a block device to write to as raw
    pub target: PathBuf,
    /// Permissions of the file in octal digits, such as 0640 [default: 0600]
    #[arg(long, value_name = "MODE")]
    pub mode: Option<FileMode>,
    /// What to make: raw or qcow2
    #[arg(long, value_name = "FORMAT", default_value = "qcow2", value_parser = parse_format)]
    pub disk_format: DiskFormat,
}

/// `yagura image delete`
#[derive(Args, Debug)]
pub struct DeleteArguments {
    /// The images
    #[arg(required = true)]
    pub images: Vec<ImageReference>,
}

/// `yagura image alias`
#[derive(Args, Debug)]
pub struct AliasArguments {
    /// The name
    pub alias: Alias,
    /// The image that is to have it
    #[arg(required_unless_present = "remove")]
    pub image: Option<ImageReference>,
    /// Take the name away
    #[arg(long, conflicts_with = "image")]
    pub remove: bool,
}

/// `yagura image publish`
#[derive(Args, Debug)]
pub struct PublishArguments {
    /// The instance
    pub instance: VmName,
    /// Name of the new image
    #[arg(long, value_name = "NAME")]
    pub alias: Option<Alias>,
    /// A line about it
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// `yagura image gc`
#[derive(Args, Debug)]
pub struct GcArguments {
    /// Only say what would go
    #[arg(long)]
    pub dry_run: bool,
    /// Remove downloads that nobody went on with for so many days
    #[arg(long, value_name = "DAYS", default_value_t = 7)]
    pub partial_days: u64,
}

const NOTES: &str = "\
Examples:
  yagura image list --all
  yagura image pull debian/12
  yagura image import server.vmdk --alias my/server
  yagura image import server.ova --disk 1 --alias my/server
  yagura image pull oci:registry.example/team/app:1.2 --alias app
  yagura image export debian/12 debian.qcow2
  yagura run --image debian/12 --name web1

Exit status:
  0  done
  1  it cannot be done, or the host refuses
  2  the command line cannot be understood
  3  there is no such image or VM
  4  not now: it is in use
  6  'image verify' has found damage

Images are kept below /var/lib/yagura, without root rights below ~/.local/share/yagura; YAGURA_DIR is another place.";
