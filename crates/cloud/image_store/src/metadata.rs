//! What is known of an image. Its file's bytes are canonical: their SHA-256 is the image's id.

use std::fmt::{self, Display};
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use vm_spec::BlockSize;

use crate::error::StoreError;
use crate::names::{Checksum, Digest, NameError};
use crate::time::UtcTime;

/// The version of the metadata's form.
const FORM: u32 = 1;
/// Longest metadata file that is read.
pub(crate) const METADATA_BYTES_MAX: u64 = 64 << 10;
const WORD_CHARS_MAX: usize = 64;
const TEXT_CHARS_MAX: usize = 1024;
/// What Linux takes on x86-64: COMMAND_LINE_SIZE.
const CMDLINE_CHARS_MAX: usize = 2048;

/// A processor architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// AMD and Intel, 64 bits.
    #[serde(rename = "x86_64")]
    X86_64,
    /// Arm, 64 bits.
    Aarch64,
    /// RISC-V, 64 bits.
    Riscv64,
}

impl Architecture {
    /// As the kernel's `uname -m` writes it.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::X86_64 => "x86_64",
            Architecture::Aarch64 => "aarch64",
            Architecture::Riscv64 => "riscv64",
        }
    }

    /// What this program was built for.
    pub fn of_host() -> Architecture {
        if cfg!(target_arch = "aarch64") {
            Architecture::Aarch64
        } else if cfg!(target_arch = "riscv64") {
            Architecture::Riscv64
        } else {
            Architecture::X86_64
        }
    }
}

impl FromStr for Architecture {
    type Err = NameError;

    /// Takes the kernel's names, and Debian's.
    fn from_str(text: &str) -> Result<Architecture, NameError> {
        match text {
            "x86_64" | "amd64" => Ok(Architecture::X86_64),
            "aarch64" | "arm64" => Ok(Architecture::Aarch64),
            "riscv64" => Ok(Architecture::Riscv64),
            _ => Err(NameError(format!(
                "'{}' is not an architecture (there are x86_64, aarch64, riscv64)",
                text.escape_default()
            ))),
        }
    }
}

impl Display for Architecture {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

/// How an image is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "way", rename_all = "kebab-case", deny_unknown_fields)]
pub enum BootWay {
    /// With a kernel that is a blob of the store.
    Kernel {
        /// The kernel's blob.
        kernel: Digest,
        /// The initial RAM disk's.
        initrd: Option<Digest>,
        /// The kernel's command line.
        cmdline: String,
    },
    /// Kernel and initrd are read from the disk at each boot.
    FromDisk,
    /// Firmware finds the boot loader on the disk.
    Firmware,
}

/// What configures an instance when it starts for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirstBoot {
    /// cloud-init, from a NoCloud seed.
    CloudInit,
    /// Yagura's small service, from the same seed.
    Yagura,
    /// Nothing.
    None,
}

/// By what way an image came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// A vendor's image, named in the catalogue; `location` is the catalogue's alias.
    Catalogue,
    /// Built from packages; `location` is the recipe's name.
    Packages,
    /// A file; `location` is its path.
    File,
    /// An address; `location` is the URL.
    Url,
    /// An OCI image; `location` is its reference, or the archive's path.
    Oci,
    /// An instance's disk; `location` is its name.
    Instance,
}

/// Where an image came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSource {
    /// The way.
    pub kind: SourceKind,
    /// Where on this way; see the kind.
    pub location: String,
    /// What the source's bytes amounted to as they came, before they were unpacked or converted.
    pub checksum: Option<Checksum>,
}

impl ImageSource {
    /// A file of this host.
    pub fn file(path: &Path) -> ImageSource {
        let location = std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string();
        ImageSource { kind: SourceKind::File, location, checksum: None }
    }

    /// An address, whose file has this checksum.
    pub fn url(url: &str, checksum: Option<Checksum>) -> ImageSource {
        ImageSource { kind: SourceKind::Url, location: url.to_owned(), checksum }
    }

    /// Whether the same bytes may be had again without a person's help.
    pub fn can_be_fetched_again(&self) -> bool {
        matches!(self.kind, SourceKind::Catalogue | SourceKind::Url | SourceKind::Oci)
    }
}

impl Display for ImageSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let location = &self.location;
        match self.kind {
            SourceKind::Catalogue => write!(out, "the vendor's image {location}"),
            SourceKind::Packages => write!(out, "built from packages by recipe {location}"),
            SourceKind::File => write!(out, "file {location}"),
            SourceKind::Url => write!(out, "{location}"),
            SourceKind::Oci => write!(out, "OCI image {location}"),
            SourceKind::Instance => write!(out, "instance {location}"),
        }
    }
}

/// What its maker says of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageDescription {
    /// The operating system: `debian`.
    pub os: String,
    /// Its release: `12`.
    pub release: String,
    /// For which processors.
    pub architecture: Architecture,
    /// Which flavour: `cloud`, `minimal`; `default` where there is but one.
    pub variant: String,
    /// One line for a person.
    pub description: String,
    /// Who logs in, where the image has such a user or its first boot makes one.
    pub default_user: Option<String>,
    /// The smallest disk it starts from, in bytes.
    pub min_disk_bytes: u64,
    /// The least memory it starts with, in bytes.
    pub min_memory_bytes: u64,
    /// What its machines have where nobody says otherwise.
    #[serde(default, skip_serializing_if = "MachineDefaults::is_empty")]
    pub machine: MachineDefaults,
    /// What configures it.
    pub first_boot: FirstBoot,
    /// Where it came from.
    pub source: ImageSource,
    /// When it was built, as far as is known.
    pub built: UtcTime,
}

/// What an image's machines have where nobody says otherwise. What is left open is left out of the file, so that images
/// of before have the ids that they had.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MachineDefaults {
    /// vCPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Memory, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Network cards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cards: Option<u32>,
    /// Size of the disk's blocks, in bytes: 512 or 4096.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_bytes: Option<u32>,
}

impl MachineDefaults {
    fn is_empty(&self) -> bool {
        *self == MachineDefaults::default()
    }
}

/// All that the store knows of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageMetadata {
    /// The version of this form: 1.
    form: u32,
    /// What its maker says of it.
    pub description: ImageDescription,
    /// How it is started.
    pub boot: BootWay,
    /// The disk's blob.
    pub disk: Digest,
    /// The disk's length in bytes, a multiple of 512.
    pub disk_bytes: u64,
}

/// An image of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The SHA-256 of its metadata.
    pub id: Digest,
    /// What is known of it.
    pub metadata: ImageMetadata,
}

impl ImageMetadata {
    pub(crate) fn new(description: ImageDescription, boot: BootWay, disk: Digest, disk_bytes: u64) -> Self {
        ImageMetadata { form: FORM, description, boot, disk, disk_bytes }
    }

    /// The blobs that the image consists of.
    pub fn blobs(&self) -> Vec<Digest> {
        let mut blobs = vec![self.disk];
        if let BootWay::Kernel { kernel, initrd, .. } = &self.boot {
            blobs.push(*kernel);
            blobs.extend(initrd);
        }
        blobs
    }

    /// The smallest disk that an instance of it can have, in bytes.
    pub fn smallest_disk_bytes(&self) -> u64 {
        self.disk_bytes.max(self.description.min_disk_bytes)
    }

    /// The bytes of its file.
    pub fn to_json(&self) -> Vec<u8> {
        // Structs of strings and numbers are always written; no map has keys that are not strings.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads an image's file, which is at `path`, and finds its id.
    pub(crate) fn from_json(path: &Path, bytes: &[u8]) -> Result<Image, StoreError> {
        let metadata: ImageMetadata = serde_json::from_slice(bytes)
            .map_err(|error| StoreError::metadata(path, messages::parser_words(&error.to_string())))?;
        if metadata.form != FORM {
            let what = format!("it has form {}, and this version of Yagura knows form {FORM}", metadata.form);
            return Err(StoreError::metadata(path, what));
        }
        if metadata.to_json() != bytes {
            return Err(StoreError::metadata(path, "it is not written as Yagura writes it"));
        }
        metadata.check()?;
        Ok(Image { id: metadata.id(), metadata })
    }

    pub(crate) fn id(&self) -> Digest {
        Digest::from_bytes(Sha256::digest(self.to_json()).into())
    }

    /// Refuses what could not be shown on a terminal or stand in a kernel's command line.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let it = &self.description;
        for (field, value) in [("system", &it.os), ("release", &it.release), ("variant", &it.variant)] {
            word(field, value)?;
        }
        if let Some(user) = &it.default_user {
            word("default user", user)?;
        }
        if let Some(bytes) = it.machine.block_bytes.filter(|bytes| BlockSize::of_bytes(*bytes).is_none()) {
            return Err(bad_description("block size", &bytes.to_string(), "there are 512 and 4096"));
        }
        text("description", &it.description, TEXT_CHARS_MAX)?;
        text("source", &it.source.location, TEXT_CHARS_MAX)?;
        if let BootWay::Kernel { cmdline, .. } = &self.boot {
            text("kernel command line", cmdline, CMDLINE_CHARS_MAX - 1)?;
        }
        Ok(())
    }
}

fn word(field: &'static str, value: &str) -> Result<(), StoreError> {
    let right = (1..=WORD_CHARS_MAX).contains(&value.len())
        && value.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && value.chars().all(|c| c.is_ascii_alphanumeric() || "._+-".contains(c));
    let why = "it takes up to 64 letters, digits and . _ + -";
    if right { Ok(()) } else { Err(bad_description(field, value, why)) }
}

fn text(field: &'static str, value: &str, chars_max: usize) -> Result<(), StoreError> {
    if value.chars().any(char::is_control) {
        return Err(bad_description(field, value, "it takes one line without control characters"));
    }
    if value.len() > chars_max {
        return Err(bad_description(field, value, "it is too long"));
    }
    Ok(())
}

fn bad_description(field: &'static str, value: &str, why: &'static str) -> StoreError {
    let value = value.chars().take(WORD_CHARS_MAX).collect::<String>().escape_default().to_string();
    StoreError::BadDescription { field, value, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> ImageMetadata {
        let description = ImageDescription {
            os: "debian".to_owned(),
            release: "12".to_owned(),
            architecture: Architecture::X86_64,
            variant: "cloud".to_owned(),
            description: "Debian 12 (bookworm)".to_owned(),
            default_user: Some("debian".to_owned()),
            min_disk_bytes: 2 << 30,
            min_memory_bytes: 256 << 20,
            machine: MachineDefaults::default(),
            first_boot: FirstBoot::CloudInit,
            source: ImageSource {
                kind: SourceKind::Catalogue,
                location: "debian/12".to_owned(),
                checksum: Some(format!("sha512:{}", "0".repeat(128)).parse().unwrap()),
            },
            built: UtcTime::from_unix(1_700_000_000),
        };
        let blob = |byte| Digest::from_bytes([byte; 32]);
        let boot =
            BootWay::Kernel { kernel: blob(1), initrd: Some(blob(2)), cmdline: "root=/dev/vda1".to_owned() };
        ImageMetadata::new(description, boot, blob(3), 2 << 30)
    }

    #[test]
    fn metadata_survives_its_file_and_the_file_is_its_id() {
        let path = Path::new("x.json");
        let metadata = example();
        let image = ImageMetadata::from_json(path, &metadata.to_json()).unwrap();
        assert_eq!(image.metadata, metadata);
        assert_eq!(image.id, Digest::from_bytes(Sha256::digest(metadata.to_json()).into()));
        assert_eq!(metadata.blobs().len(), 3);
    }

    #[test]
    fn what_a_machine_has_is_in_the_file_only_where_it_is_known() {
        let path = Path::new("x.json");
        let without = String::from_utf8(example().to_json()).unwrap();
        assert!(!without.contains("machine"), "the ids of images of before are as they were");
        let mut metadata = example();
        metadata.description.machine =
            MachineDefaults { block_bytes: Some(4096), ..MachineDefaults::default() };
        let image = ImageMetadata::from_json(path, &metadata.to_json()).unwrap();
        assert_eq!(image.metadata, metadata);
        metadata.description.machine.block_bytes = Some(1024);
        assert!(ImageMetadata::from_json(path, &metadata.to_json()).is_err());
    }

    #[test]
    fn anything_else_in_the_file_is_refused() {
        let path = Path::new("x.json");
        let good = String::from_utf8(example().to_json()).unwrap();
        for (from, to) in [
            ("\"form\": 1", "\"form\": 2"),
            ("\"os\"", "\"so\""),
            ("{\n", "{\n  \"more\": 1,\n"),
            ("  ", " "),
            ("root=", "\\u0007"),
            ("\"cloud\"", "\"../x\""),
            ("from-disk", "elsewhere"),
        ] {
            let bad = good.replacen(from, to, 1);
            if bad != good {
                assert!(ImageMetadata::from_json(path, bad.as_bytes()).is_err(), "{to}");
            }
        }
    }

    #[test]
    fn descriptions_cannot_move_the_cursor() {
        let mut metadata = example();
        metadata.description.description = "\u{1b}[2J".to_owned();
        let error = metadata.check().unwrap_err().to_string();
        assert!(!error.contains('\u{1b}') && error.contains("description"), "{error}");
    }
}
