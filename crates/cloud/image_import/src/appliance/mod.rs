//! Appliances: machines as VMware, VirtualBox and others export them (DMTF DSP0243, "Open Virtualization Format").
//!
//! ```text
//! archive (OVA) ─► description (OVF, XML): files, disks, hardware
//!        ├───────► manifest: a digest for each file ─► compared
//!        └───────► files ─► where each disk lies in the archive
//! ```
//!
//! Disks stay where they are: what is answered is ranges. The archive's certificate is not looked at; the digests are
//! there against damage.

mod archive;
mod beside;
mod envelope;
mod manifest;
mod units;

use std::io;
use std::ops::RangeInclusive;

use oci_image::ByteRange;
use serde::{Deserialize, Serialize};

pub(crate) use self::archive::is_appliance;
pub use self::archive::read_archive;
pub(crate) use self::beside::read_beside;
pub use self::envelope::read_envelope;

/// More disks than any machine of ours has.
pub(crate) const DISKS_MAX: usize = 64;
/// Most vCPUs of a machine, as `vm_spec` has it.
pub(crate) const CPUS_MAX: u32 = 64;
/// Memory that a machine can have, as `vm_spec` has it.
pub(crate) const MEMORY_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 44;

/// Where an appliance's files are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum ApplianceSource {
    /// In one tar archive.
    Archive,
    /// Beside their description: its name and theirs. Their manifest, if there is one, is the last file of the job.
    Beside { names: Vec<String>, has_manifest: bool },
}

/// A machine in an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appliance {
    /// What it is called.
    pub name: Option<String>,
    /// Its operating system, in words.
    pub system: Option<String>,
    /// vCPUs.
    pub cpus: Option<u32>,
    /// Memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// Network cards.
    pub cards: u32,
    /// Its disks, in the order in which its controllers have them.
    pub disks: Vec<ApplianceDisk>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// A disk of an appliance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplianceDisk {
    /// Its file's name; nothing for a disk that is empty at first.
    pub file: Option<String>,
    /// Where in the archive the file lies.
    pub range: Option<ByteRange>,
    /// Its length in bytes, as the description has it.
    pub capacity_bytes: Option<u64>,
}

/// Why an appliance cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ApplianceError {
    /// It makes no sense.
    #[error("the appliance is damaged: {0}")]
    Damaged(String),
    /// A part of the format that is left out.
    #[error("an appliance with {0} is not taken")]
    Unsupported(String),
    /// It cannot be read.
    #[error("the appliance cannot be read")]
    Io(#[from] io::Error),
}

pub(crate) fn damaged(what: impl Into<String>) -> ApplianceError {
    ApplianceError::Damaged(what.into())
}

pub(crate) fn unsupported(what: impl Into<String>) -> ApplianceError {
    ApplianceError::Unsupported(what.into())
}
