//! Why something could not be done.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of failure it is, for a program to act on: one type for VMs, instances and images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// What was asked for is not there (404).
    NotFound,
    /// What was to be made is there already (409).
    Exists,
    /// The request makes no sense (400, 405).
    Invalid,
    /// Not now: the VM is in another state (409), or ends (503).
    Busy,
    /// The host refused, or the engine cannot (500).
    #[default]
    #[serde(other)]
    Host,
}

/// A problem detail (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// HTTP's status code.
    pub status: u16,
    /// HTTP's words for it.
    pub title: String,
    /// What is wrong, in one line for a person.
    pub detail: String,
    /// What kind it is. Version 0 did not say so.
    #[serde(default)]
    pub class: FailureClass,
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.detail)
    }
}

impl std::error::Error for Failure {}
