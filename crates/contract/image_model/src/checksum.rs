//! What vendors say of their files.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{NameError, shown};
use crate::hex::{from_hex, hex};

/// How a checksum is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChecksumKind {
    /// 32 bytes.
    Sha256,
    /// 64 bytes.
    Sha512,
}

impl ChecksumKind {
    /// As it stands before the colon.
    pub fn name(self) -> &'static str {
        match self {
            ChecksumKind::Sha256 => "sha256",
            ChecksumKind::Sha512 => "sha512",
        }
    }

    /// Hexadecimal digits of a checksum of this kind.
    pub fn digits(self) -> usize {
        match self {
            ChecksumKind::Sha256 => 64,
            ChecksumKind::Sha512 => 128,
        }
    }
}

/// What a vendor says a file's bytes amount to: `sha256:…` or `sha512:…`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Checksum {
    kind: ChecksumKind,
    hex: String,
}

impl Checksum {
    /// A checksum from its hexadecimal digits.
    ///
    /// # Errors
    /// They are not as many as the kind has, or no digits.
    pub fn new(kind: ChecksumKind, digits: &str) -> Result<Checksum, NameError> {
        if digits.len() != kind.digits() || from_hex(digits).is_none() {
            return Err(NameError(format!(
                "'{}' is not a {} ({} hexadecimal digits)",
                shown(digits),
                kind.name(),
                kind.digits()
            )));
        }
        Ok(Checksum { kind, hex: digits.to_ascii_lowercase() })
    }

    /// A checksum from its bytes.
    ///
    /// # Errors
    /// They are not as many as the kind has.
    pub fn from_bytes(kind: ChecksumKind, bytes: &[u8]) -> Result<Checksum, NameError> {
        Checksum::new(kind, &hex(bytes))
    }

    /// How it is computed.
    pub fn kind(&self) -> ChecksumKind {
        self.kind
    }

    /// Its digits, lower case.
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl FromStr for Checksum {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Checksum, NameError> {
        match text.split_once(':') {
            Some(("sha256", digits)) => Checksum::new(ChecksumKind::Sha256, digits),
            Some(("sha512", digits)) => Checksum::new(ChecksumKind::Sha512, digits),
            _ => Err(NameError(format!("'{}' is not a checksum (sha256:… or sha512:…)", shown(text)))),
        }
    }
}

impl TryFrom<String> for Checksum {
    type Error = NameError;

    fn try_from(text: String) -> Result<Checksum, NameError> {
        text.parse()
    }
}

impl From<Checksum> for String {
    fn from(checksum: Checksum) -> String {
        checksum.to_string()
    }
}

impl Display for Checksum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.kind.name(), self.hex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_have_as_many_digits_as_their_kind() {
        assert!("sha256:00".parse::<Checksum>().is_err());
        assert!(Checksum::new(ChecksumKind::Sha512, &"g".repeat(128)).is_err());
        let upper = Checksum::new(ChecksumKind::Sha512, &"AB".repeat(64)).unwrap();
        assert_eq!(upper.to_string(), format!("sha512:{}", "ab".repeat(64)));
    }
}
