//! Names of a machine's devices.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{BadValue, Chip};

/// A device's name, unique in its machine and the same for as long as the device is part of it: `disk-root`, `nic0`.
/// Counters, messages and saved state name a device by it.
///
/// Lower-case letters, digits and hyphens; it begins with a letter and does not end with a hyphen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceId(String);

/// Long enough for a word or three, and short enough for a column.
const CHARS_MAX: usize = 32;

/// The PCI bus, whose state is saved as a device's.
pub const PCI_BUS_ID: &str = "pci";
/// The virtio console.
const CONSOLE_ID: &str = "console0";
/// The entropy source.
const ENTROPY_ID: &str = "rng0";

impl DeviceId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The disk that nobody named and that comes first: a system has its root there.
    pub(crate) fn root_disk() -> DeviceId {
        DeviceId("disk-root".to_owned())
    }

    /// Number `index` of what is called `stem`.
    pub(crate) fn numbered(stem: &str, index: usize) -> DeviceId {
        DeviceId(format!("{stem}{index}"))
    }

    /// The virtio console: there is one at most.
    pub fn console() -> DeviceId {
        DeviceId(CONSOLE_ID.to_owned())
    }

    /// The entropy source: each machine has one.
    pub fn entropy() -> DeviceId {
        DeviceId(ENTROPY_ID.to_owned())
    }

    /// A chip.
    pub fn of_chip(chip: Chip) -> DeviceId {
        DeviceId(chip.id().to_owned())
    }

    /// Whether a part of every machine is called so, which no disk or card may be.
    pub(crate) fn is_reserved(&self) -> bool {
        [PCI_BUS_ID, CONSOLE_ID, ENTROPY_ID].contains(&self.as_str()) || Chip::is_id(self.as_str())
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DeviceId {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let is_id = (1..=CHARS_MAX).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-')
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if is_id {
            return Ok(DeviceId(text.to_owned()));
        }
        Err(BadValue(format!(
            "'{text}' is not a device's name; write up to {CHARS_MAX} lower-case letters, digits and hyphens, such as disk-data"
        )))
    }
}

impl TryFrom<String> for DeviceId {
    type Error = BadValue;

    fn try_from(text: String) -> Result<Self, BadValue> {
        text.parse()
    }
}

impl From<DeviceId> for String {
    fn from(id: DeviceId) -> String {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_in_lower_case() {
        for good in ["a", "disk-root", "nic0", "data2-copy", &"x".repeat(CHARS_MAX)] {
            let id: DeviceId = good.parse().unwrap();
            assert_eq!((id.as_str(), id.is_reserved()), (good, false));
        }
        for bad in ["", "0", "-a", "a-", "Disk", "a_b", "a/b", "é", "a b", &"x".repeat(CHARS_MAX + 1)] {
            assert!(bad.parse::<DeviceId>().unwrap_err().0.contains("such as disk-data"), "{bad}");
        }
        for taken in ["pci", "serial0", "rng0", "console0", "debug-exit"] {
            assert!(taken.parse::<DeviceId>().unwrap().is_reserved(), "{taken}");
        }
    }
}
