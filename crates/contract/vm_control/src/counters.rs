//! What a VM has done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Figures by name. Each is named once, where it is counted; all but those of memory only grow.
pub type Figures = BTreeMap<String, u64>;

/// Counters of a VM at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// How often vCPUs left guest code, by kind, over all vCPUs.
    pub exits: Figures,
    /// What an engine in software keeps of the guest's code, over all vCPUs.
    #[serde(default)]
    pub code: Figures,
    /// Figures of each device, by its id.
    pub devices: BTreeMap<String, Figures>,
    /// Memory of the VM's process, in bytes. A figure that the host's kernel does not have is left out.
    pub memory: Figures,
}
