//! What a snapshot is: the record in its folder.
//!
//! It names no file outside of the folder to be opened, no interface that has to be used, and no device that its state has
//! not. What it says of them besides is for people.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use vm_spec::{BlockSize, DeviceId, DiskFormat, MAX_DEVICES_OF_A_KIND, OnError, OnPanic, OnReset, VmName};

use crate::{FileName, KeptBase, RECORD, SnapshotError, SnapshotId, SnapshotName};

/// The version that is written and read, of one that has all of its RAM. What is written under it never changes.
const VERSION: u32 = 1;
/// The version of one that builds upon another: the same, and what that is. A program that does not know of it would take the
/// difference for all.
const VERSION_OF_DIFFERENCES: u32 = 2;
/// Longest record that is read, in bytes.
pub const BYTES_MAX: u64 = 1 << 20;
/// Who writes.
const PROGRAM: &str = concat!("yagura ", env!("CARGO_PKG_VERSION"));
/// What this program can run.
const ARCHITECTURE: &str = "x86_64";
/// Longest description, in bytes.
pub(crate) const DESCRIPTION_MAX: usize = 4096;

/// What a snapshot is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this form.
    pub version: u32,
    /// Who wrote it.
    pub program: String,
    /// The machine's architecture.
    pub architecture: String,
    /// Its name.
    pub name: SnapshotName,
    /// Whose it is.
    pub vm: VmName,
    /// Its own for ever, whatever it is called.
    pub uuid: String,
    /// When it was taken, in seconds since 1970.
    pub created_s: u64,
    /// What it is for.
    pub description: String,
    /// From when on it may be removed, in seconds since 1970.
    pub expires_s: Option<u64>,
    /// What executed the guest: `kvm`, `soft`.
    pub engine: String,
    /// vCPUs.
    pub cpus: u32,
    /// RAM in bytes.
    pub memory_bytes: u64,
    /// Bytes of it that are kept: the others are zeros, or are what they are in the one that it builds upon.
    pub ram_bytes: u64,
    /// The snapshot that it builds upon, where it has only what differs from that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<KeptBase>,
    /// Whether they are compressed.
    pub compressed: bool,
    /// How long the guest stood still for it, in microseconds.
    pub pause_us: u64,
    /// What the machine starts with after a reset.
    pub boot: KeptBoot,
    /// Its disks.
    pub disks: Vec<KeptDisk>,
    /// Its network cards.
    pub cards: Vec<KeptCard>,
    /// Whether it has a virtio console.
    pub virtio_console: bool,
    /// Whether its pages may be merged with others'.
    pub merge: bool,
    /// What a reset does.
    pub on_reset: OnReset,
    /// What a panic does.
    pub on_panic: OnPanic,
    /// All files of the snapshot but this one.
    pub files: Vec<KeptFile>,
}

/// A file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    /// Its name.
    pub name: FileName,
    /// Its length.
    pub size_bytes: u64,
    /// CRC-32C of all of it, where it is short. Others have checksums of their own, or are disks.
    pub crc32c: Option<u32>,
}

/// Kernel, initial RAM disks and modules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptBoot {
    /// The kernel.
    pub kernel: FileName,
    /// Initial RAM disks, in their order.
    pub initrds: Vec<FileName>,
    /// Boot modules, in their order.
    pub modules: Vec<KeptModule>,
}

/// A boot module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptModule {
    /// Its file.
    pub file: FileName,
    /// Its command line.
    pub cmdline: String,
}

/// How a disk is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keeping {
    /// By blocks that it shares with the disk, until either is changed.
    SharedBlocks,
    /// By a copy with the disk's holes.
    Copied,
}

impl Keeping {
    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Keeping::SharedBlocks => "shared blocks",
            Keeping::Copied => "a copy",
        }
    }
}

/// A disk as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptDisk {
    /// The device.
    pub id: DeviceId,
    /// The file in the snapshot.
    pub file: FileName,
    /// How the disk lies in it.
    pub format: DiskFormat,
    /// Length of the disk in bytes.
    pub size_bytes: u64,
    /// Size of its blocks, where somebody chose it.
    pub block_size: Option<BlockSize>,
    /// The guest may not write.
    pub readonly: bool,
    /// What a request does that the host cannot carry out.
    pub on_error: OnError,
    /// How it is kept.
    pub kept: Keeping,
    /// Where the disk was; told to people, and never opened.
    pub path: String,
    /// What a qcow2 image has behind it.
    pub backing: Option<KeptBacking>,
}

/// The file behind a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptBacking {
    /// As the disk names it, from where the disk is: put back when the disk goes back there.
    pub name: String,
    /// The file in the snapshot that is the same, by a second name.
    pub file: Option<FileName>,
    /// Where it is, where the snapshot's disk names the very file; never opened by this.
    pub path: Option<String>,
}

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptCard {
    /// The device.
    pub id: DeviceId,
    /// The interface that was behind it, if there was one.
    pub tap: Option<String>,
    /// Queue pairs.
    pub queues: u16,
}

/// What tells a record that cannot be read from one that is too new to be read.
#[derive(Deserialize)]
struct Head {
    version: u32,
    #[serde(default)]
    program: String,
    #[serde(default)]
    name: String,
}

impl Record {
    /// Whose it is, and what it is called.
    pub fn id(&self) -> SnapshotId {
        SnapshotId { vm: self.vm.clone(), name: self.name.clone() }
    }

    /// Whether it may be removed.
    pub fn is_expired(&self, now_s: u64) -> bool {
        self.expires_s.is_some_and(|expires_s| expires_s <= now_s)
    }

    /// The version of a record of one that builds upon this, or upon nothing.
    pub fn version_for(base: Option<&KeptBase>) -> u32 {
        if base.is_some() { VERSION_OF_DIFFERENCES } else { VERSION }
    }

    /// Who writes records here, and for which machines: version (of one that builds upon nothing), program, architecture.
    pub fn writer() -> (u32, String, String) {
        (VERSION, PROGRAM.to_owned(), ARCHITECTURE.to_owned())
    }

    /// The record as a file has it.
    ///
    /// # Errors
    /// It cannot be written: a mistake in its types.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads what [`to_json`](Record::to_json) wrote, perhaps changed by somebody since, from the file at `path`.
    ///
    /// # Errors
    /// It is none, or one of a newer program, or of another architecture.
    pub fn from_json(path: &Path, bytes: &[u8]) -> Result<Record, SnapshotError> {
        let bad =
            |why: String| SnapshotError::Record { path: path.to_owned(), why: messages::one_line(&why) };
        let unreadable = |error: serde_json::Error| bad(messages::parser_words(&error.to_string()));
        let Head { version, program, name } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if !(VERSION..=VERSION_OF_DIFFERENCES).contains(&version) {
            let said = |text: &str| messages::one_line(&messages::shortened(text, 80));
            let (name, program) = (said(&name), said(&program));
            return Err(SnapshotError::Version {
                name,
                program,
                found: version,
                reads: VERSION_OF_DIFFERENCES,
            });
        }
        let record: Record = serde_json::from_slice(bytes).map_err(unreadable)?;
        if record.architecture != ARCHITECTURE {
            let found = messages::one_line(&messages::shortened(&record.architecture, 80));
            return Err(SnapshotError::Architecture { name: record.name, found, own: ARCHITECTURE });
        }
        record.check().map_err(|why| bad(why.to_owned()))?;
        Ok(record)
    }

    fn check(&self) -> Result<(), &'static str> {
        let files: BTreeSet<&FileName> = self.files.iter().map(|file| &file.name).collect();
        let ids: BTreeSet<&DeviceId> =
            self.disks.iter().map(|disk| &disk.id).chain(self.cards.iter().map(|card| &card.id)).collect();
        let is_uuid = |text: &str| {
            text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
        };
        let rules = [
            (files.len() == self.files.len(), "a file is named twice"),
            (!files.iter().any(|file| file.as_str() == RECORD), "it names itself"),
            (self.named().all(|file| files.contains(file)), "a file is used that it does not list"),
            (ids.len() == self.disks.len() + self.cards.len(), "a device is named twice"),
            (self.disks.len() <= MAX_DEVICES_OF_A_KIND, "it has more disks than a VM can have"),
            (self.cards.len() <= MAX_DEVICES_OF_A_KIND, "it has more network cards than a VM can have"),
            (self.description.len() <= DESCRIPTION_MAX, "its description is too long"),
            (is_uuid(&self.uuid), "its UUID is none"),
            (self.base.iter().all(|base| is_uuid(&base.uuid)), "the UUID of what it builds upon is none"),
            (self.version == Record::version_for(self.base.as_ref()), "it builds upon another one, or not"),
        ];
        rules.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, why)| Err(why))
    }

    /// The files that are used by name.
    pub fn named(&self) -> impl Iterator<Item = &FileName> {
        let KeptBoot { kernel, initrds, modules } = &self.boot;
        let boot = std::iter::once(kernel).chain(initrds).chain(modules.iter().map(|module| &module.file));
        let backing = self.disks.iter().filter_map(|disk| disk.backing.as_ref()?.file.as_ref());
        boot.chain(self.disks.iter().map(|disk| &disk.file)).chain(backing)
    }
}
