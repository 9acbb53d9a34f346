//! What is said of an image.

use serde::{Deserialize, Serialize};

use crate::{Architecture, FirstBoot, ImageSource, UtcTime};

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
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == MachineDefaults::default()
    }
}
