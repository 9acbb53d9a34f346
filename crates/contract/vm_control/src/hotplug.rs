//! Devices that come and go while the machine runs.

use serde::{Deserialize, Serialize};

/// What [`Verb::Attach`](crate::Verb::Attach) is asked with: a device in the words in which a VM is described, such as
/// `path=/srv/data.img,id=data`. Relative paths are the VM's process's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttachDevice {
    /// A disk.
    Disk(String),
    /// A network card.
    Net(String),
}

/// Its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The device's id: that which was given, or one that was derived.
    pub id: String,
}

/// What [`Verb::Detach`](crate::Verb::Detach) is asked with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetachDevice {
    /// The disk's or card's id.
    pub device: String,
    /// How long the guest has to let go of it, in milliseconds.
    #[serde(default = "DetachDevice::default_timeout_ms")]
    pub timeout_ms: u64,
    /// Whether it is taken out at once, whatever the guest does with it.
    #[serde(default)]
    pub force: bool,
}

impl DetachDevice {
    /// Half a minute.
    pub const DEFAULT_TIMEOUT_MS: u64 = 30_000;

    fn default_timeout_ms() -> u64 {
        DetachDevice::DEFAULT_TIMEOUT_MS
    }
}
