//! Digests, by which contents are named.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{NameError, shown};
use crate::hex::{from_hex, hex};

/// A SHA-256: of a blob's bytes, or of an image's metadata.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; Digest::BYTES]);

impl Digest {
    /// Bytes of a SHA-256.
    pub const BYTES: usize = 32;

    /// The digest with these bytes.
    pub fn from_bytes(bytes: [u8; Digest::BYTES]) -> Digest {
        Digest(bytes)
    }

    /// As bytes.
    pub fn bytes(&self) -> &[u8; Digest::BYTES] {
        &self.0
    }

    /// 64 lower-case hexadecimal digits.
    pub fn hex(&self) -> String {
        hex(&self.0)
    }

    /// The first twelve digits, for listings.
    pub fn short(&self) -> String {
        self.hex()[..12].to_owned()
    }
}

impl FromStr for Digest {
    type Err = NameError;

    /// Takes 64 hexadecimal digits, with or without `sha256:` before them.
    fn from_str(text: &str) -> Result<Digest, NameError> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let bytes = from_hex(digits).and_then(|bytes| bytes.try_into().ok());
        let bytes = bytes.ok_or_else(|| {
            NameError(format!("'{}' is not a SHA-256 (64 hexadecimal digits)", shown(text)))
        })?;
        Ok(Digest(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = NameError;

    fn try_from(text: String) -> Result<Digest, NameError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

impl Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, out)
    }
}
