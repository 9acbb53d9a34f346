//! Names of images, each checked once: none becomes a path or an argument unchecked.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{NameError, shown};
use crate::reference::is_digest_prefix;

const CHARS_MAX: usize = 128;
const PARTS_MAX: usize = 4;

/// What a person calls an image: `debian/12`.
///
/// One to four parts with `/` between them, each of lower-case letters, digits and `. _ + -`, beginning with
/// a letter or digit; not a word that could be the start of a digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Alias(String);

impl Alias {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Alias {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Alias, NameError> {
        let parts = text.split('/');
        let right =
            text.len() <= CHARS_MAX && parts.clone().count() <= PARTS_MAX && parts.clone().all(is_alias_part);
        if !right {
            return Err(NameError(format!(
                "'{}' cannot be an image's alias (like debian/12: lower-case letters, digits and . _ + - in up to \
                 {PARTS_MAX} parts)",
                shown(text)
            )));
        }
        if is_digest_prefix(text) {
            return Err(NameError(format!(
                "'{text}' cannot be an image's alias: it could be the start of a digest"
            )));
        }
        Ok(Alias(text.to_owned()))
    }
}

impl TryFrom<String> for Alias {
    type Error = NameError;

    fn try_from(text: String) -> Result<Alias, NameError> {
        text.parse()
    }
}

impl From<Alias> for String {
    fn from(alias: Alias) -> String {
        alias.0
    }
}

impl Display for Alias {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

fn is_alias_part(part: &str) -> bool {
    part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "._+-".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_that_could_be_paths_or_digests_are_refused() {
        for good in ["debian/12", "a", "ubuntu/24.04/minimal", "deadbee", "c++/1_0-2"] {
            assert_eq!(good.parse::<Alias>().unwrap().as_str(), good);
        }
        let long = "a".repeat(CHARS_MAX + 1);
        for bad in [
            "",
            "/",
            "debian/",
            "/etc",
            "..",
            "../x",
            "a/../b",
            "a//b",
            "a b",
            "Debian",
            "-x",
            "a\0",
            "a\n",
            "ä",
            "deadbeef",
            "a/b/c/d/e",
            &long,
        ] {
            assert!(bad.parse::<Alias>().is_err(), "{bad:?}");
        }
    }
}
