//! Snapshots: what is asked for, and what came of it.

use serde::{Deserialize, Serialize};

/// A snapshot that is to be written. Whoever asks has made the folder, and gives it its name when this is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotOrder {
    /// The folder to write to, which is empty.
    pub folder: String,
    /// Whose snapshot it is, which may be another name than that of the VM's process.
    pub vm: String,
    /// What it will be called.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// From when on it may be removed, in seconds since 1970.
    #[serde(default)]
    pub expires_s: Option<u64>,
    /// Whether RAM is compressed.
    #[serde(default)]
    pub compress: bool,
    /// The name of the snapshot of which it is to have only what differs: one of the same VM, in the same folder.
    #[serde(default)]
    pub base: Option<String>,
}

/// A snapshot that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotTaken {
    /// How long the guest stood still, in microseconds; of one that was paused already, how long that pause was needed.
    pub pause_us: u64,
    /// RAM that is not zeros, in bytes.
    pub ram_bytes: u64,
    /// What a person should know of how it was made, a line each.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A snapshot to which the machine is to go back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreOrder {
    /// Its folder.
    pub folder: String,
}
