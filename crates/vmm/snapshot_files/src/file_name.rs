//! Names of files in a snapshot.

use std::fmt;

use serde::{Deserialize, Serialize};
use vm_spec::BadValue;

/// Longest name, in bytes: that of the longest device, and what its file is called behind it.
const BYTES_MAX: usize = 96;

/// A file in a snapshot's folder: letters, digits, hyphens and dots, and no dot first. Nothing else leads nowhere else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileName(String);

impl FileName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for FileName {
    type Error = BadValue;

    fn try_from(text: String) -> Result<FileName, BadValue> {
        let is_name = (1..=BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
            && !text.starts_with('.');
        if is_name {
            Ok(FileName(text))
        } else {
            Err(BadValue(format!("'{text}' is no name of a file in a snapshot")))
        }
    }
}

impl From<FileName> for String {
    fn from(name: FileName) -> String {
        name.0
    }
}
