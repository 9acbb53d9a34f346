//! Disks that become longer while they are used.

use serde::{Deserialize, Serialize};

/// What [`Verb::ResizeDisk`](crate::Verb::ResizeDisk) is asked with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResizeDisk {
    /// The disk's id.
    pub disk: String,
    /// The length that it is to have, in bytes.
    pub size_bytes: u64,
    /// The length that it has as far as who asks knows; where it has another, nothing is done (409, busy).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_bytes: Option<u64>,
}
