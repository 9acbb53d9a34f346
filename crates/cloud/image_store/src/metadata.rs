//! What is known of an image. Its file's bytes are canonical: their SHA-256 is the image's id.

use std::path::Path;

use image_model::{Digest, ImageDescription};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use vm_spec::BlockSize;

use crate::error::StoreError;

/// The version of the metadata's form.
const FORM: u32 = 1;
/// Longest metadata file that is read.
pub(crate) const METADATA_BYTES_MAX: u64 = 64 << 10;
const WORD_CHARS_MAX: usize = 64;
const TEXT_CHARS_MAX: usize = 1024;
/// What Linux takes on x86-64: COMMAND_LINE_SIZE.
const CMDLINE_CHARS_MAX: usize = 2048;

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
    use image_model::{Architecture, FirstBoot, ImageSource, MachineDefaults, SourceKind, UtcTime};

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
