//! How disks of machines lie in their files.

use std::str::FromStr;

use messages::did_you_mean;
use serde::{Deserialize, Serialize};

use crate::error::NameError;

/// How a disk lies in its file. Always stated: what a guest can write is never asked what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskFormat {
    /// Each byte where it is.
    #[default]
    Raw,
    /// QEMU's copy-on-write format.
    Qcow2,
}

impl DiskFormat {
    /// As a person types it.
    pub fn name(self) -> &'static str {
        match self {
            DiskFormat::Raw => "raw",
            DiskFormat::Qcow2 => "qcow2",
        }
    }
}

impl FromStr for DiskFormat {
    type Err = NameError;

    fn from_str(text: &str) -> Result<DiskFormat, NameError> {
        match text {
            "raw" => Ok(DiskFormat::Raw),
            "qcow2" => Ok(DiskFormat::Qcow2),
            _ => {
                let hint = did_you_mean(text, ["raw", "qcow2"]);
                Err(NameError(format!("'{text}' is not a disk format (there are raw, qcow2){hint}")))
            }
        }
    }
}
