//! Names of VMs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::BadValue;

/// A VM's name: a DNS label, so that it serves as a host name, in a path, and in a process title.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VmName(String);

impl VmName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for VmName {
    /// The name of a VM that was given none.
    fn default() -> Self {
        VmName("vm".to_owned())
    }
}

impl fmt::Display for VmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for VmName {
    type Err = BadValue;

    /// RFC 1123, 2.1: letters, digits and hyphens, 1 to 63, no hyphen at either end.
    fn from_str(text: &str) -> Result<Self, BadValue> {
        let fits = (1..=63).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if fits {
            Ok(VmName(text.to_owned()))
        } else {
            let rule = "1 to 63 letters, digits and hyphens, no hyphen at either end";
            Err(BadValue(format!("'{text}' is not a name for a VM ({rule})")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels() {
        for good in ["a", "web1", "A-b-3", &"x".repeat(63)] {
            assert!(good.parse::<VmName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "a_b", "a b", "../x", "ä", &"x".repeat(64)] {
            assert!(bad.parse::<VmName>().is_err(), "{bad}");
        }
    }
}
