//! Names of VMs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::BadValue;

/// A VM's name, by one rule for all VMs, whether they are made of an image or not: it serves as a host name, in a path, and
/// in a process title.
///
/// A label of a host name (RFC 1123, 2.1) in lower case that begins with a letter: two names are never one host's, and none
/// is taken for a number or an option.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VmName(String);

impl VmName {
    /// Longest name, in characters, each of one byte (RFC 1035, 2.3.4: a label of a host name).
    pub const CHARS_MAX: usize = 63;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name that is most like `text`: `debian-12` for `Debian/12`. `None` where `text` has neither letters nor digits.
    pub fn like(text: &str) -> Option<VmName> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let mut name = words.collect::<Vec<_>>().join("-").to_ascii_lowercase();
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            name.insert_str(0, "vm-");
        }
        name.truncate(Self::CHARS_MAX);
        let name = name.trim_end_matches('-');
        is_name(name).then(|| VmName(name.to_owned()))
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

    fn from_str(text: &str) -> Result<Self, BadValue> {
        if is_name(text) {
            return Ok(VmName(text.to_owned()));
        }
        let rule = "up to 63 lower-case letters, digits and hyphens, a letter first, no hyphen last";
        let hint = VmName::like(text).map_or_else(String::new, |name| format!("; did you mean '{name}'?"));
        Err(BadValue(format!("'{text}' is not a name for a VM ({rule}){hint}")))
    }
}

fn is_name(text: &str) -> bool {
    (1..=VmName::CHARS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
}

impl TryFrom<String> for VmName {
    type Error = BadValue;

    fn try_from(text: String) -> Result<VmName, BadValue> {
        text.parse()
    }
}

impl From<VmName> for String {
    fn from(name: VmName) -> String {
        name.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels_in_lower_case() {
        for good in ["a", "web1", "a-b-3", &"x".repeat(63)] {
            assert_eq!(good.parse::<VmName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "-a",
            "a-",
            "a_b",
            "a b",
            "../x",
            ".",
            "..",
            "a/b",
            "ä",
            "Web1",
            "1a",
            "1",
            "a\n",
            "a\0",
            &"x".repeat(64),
        ] {
            assert!(bad.parse::<VmName>().is_err(), "{bad}");
            assert!(VmName::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_that_is_like_another_text_is_offered() {
        for (text, name) in [
            ("Web1", Some("web1")),
            ("debian/12", Some("debian-12")),
            ("1web", Some("vm-1web")),
            ("9front/a.b_c+d-", Some("vm-9front-a-b-c-d")),
            ("--", None),
            ("", None),
            (&format!("{}-b", "a".repeat(62)), Some(&*"a".repeat(62))),
        ] {
            assert_eq!(VmName::like(text).as_ref().map(VmName::as_str), name, "{text}");
        }
        let said = "Web1".parse::<VmName>().unwrap_err().0;
        assert!(said.ends_with("; did you mean 'web1'?"), "{said}");
    }
}
