//! How a VM is.

use serde::{Deserialize, Serialize};

/// Whether the guest runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It does.
    Running,
    /// It stands still until it is told to go on.
    Paused,
    /// Something that a newer version has.
    #[serde(other)]
    Unknown,
}

impl Phase {
    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Running => "running",
            Phase::Paused => "paused",
            Phase::Unknown => "unknown",
        }
    }
}

/// How a VM is, at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the protocol that it speaks. 0 did not say so.
    #[serde(default)]
    pub protocol: u32,
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub state: Phase,
    /// Why it stands still, where nobody asked for it.
    #[serde(default)]
    pub paused_by: Option<String>,
    /// What executes it: `kvm`, `soft`.
    pub engine: String,
    /// vCPUs.
    pub cpus: u32,
    /// RAM, in bytes.
    pub memory_bytes: u64,
    /// Time since its start, in milliseconds. Resets do not end it.
    pub uptime_ms: u64,
    /// How often it was reset.
    pub resets: u32,
    /// How often its kernel panicked.
    #[serde(default)]
    pub panics: u32,
    /// Its process.
    pub pid: u32,
    /// Its disks, in the order in which the guest finds them.
    #[serde(default)]
    pub disks: Vec<DiskStatus>,
    /// Its network cards, in the order in which the guest finds them.
    #[serde(default)]
    pub cards: Vec<CardStatus>,
}

/// A disk of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskStatus {
    /// Its id, by which its [counters](crate::Counters::devices) are found.
    pub id: String,
    /// The image or block device.
    pub path: String,
    /// `raw`, `qcow2`.
    pub format: String,
    /// Length, in bytes.
    pub size_bytes: u64,
    /// Whether the guest may only read it.
    pub readonly: bool,
}

/// A network card of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardStatus {
    /// Its id, by which its [counters](crate::Counters::devices) are found.
    pub id: String,
    /// The host's interface behind it.
    pub interface: String,
    /// The guest's hardware address: six bytes in hexadecimal digits, colons between.
    pub mac: String,
}
