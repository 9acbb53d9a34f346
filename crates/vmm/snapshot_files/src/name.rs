//! Names of snapshots.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use vm_spec::{BadValue, VmName};

/// A snapshot's name among those of its VM, by the rule for names of VMs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SnapshotName(VmName);

impl SnapshotName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SnapshotName {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let said =
            |BadValue(why): BadValue| BadValue(why.replacen("a name for a VM", "a name for a snapshot", 1));
        text.parse().map(SnapshotName).map_err(said)
    }
}

/// A snapshot: `web1/before-upgrade`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SnapshotId {
    /// Whose.
    pub vm: VmName,
    /// Which.
    pub name: SnapshotName,
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.vm, self.name)
    }
}

impl FromStr for SnapshotId {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let (vm, name) = text.split_once('/').ok_or_else(|| {
            BadValue(format!("'{text}' is no snapshot; write NAME/SNAP, such as web1/before-upgrade"))
        })?;
        Ok(SnapshotId { vm: vm.parse()?, name: name.parse()? })
    }
}
