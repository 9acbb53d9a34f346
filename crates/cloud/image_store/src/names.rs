//! Names that a person types, each checked once: none becomes a path or an argument unchecked.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bytes of a SHA-256.
const SHA256_BYTES: usize = 32;
const ALIAS_CHARS_MAX: usize = 128;
const ALIAS_PARTS_MAX: usize = 4;
/// Hexadecimal digits from which on a word is the start of a digest, and no alias.
const PREFIX_DIGITS_MIN: usize = 8;

/// A word that cannot be a name: what was typed, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(pub String);

/// A SHA-256: of a blob's bytes, or of an image's metadata.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; SHA256_BYTES]);

impl Digest {
    /// The digest with these bytes.
    pub fn from_bytes(bytes: [u8; SHA256_BYTES]) -> Digest {
        Digest(bytes)
    }

    /// As bytes.
    pub fn bytes(&self) -> &[u8; SHA256_BYTES] {
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
        let right = text.len() <= ALIAS_CHARS_MAX
            && parts.clone().count() <= ALIAS_PARTS_MAX
            && parts.clone().all(is_alias_part);
        if !right {
            return Err(NameError(format!(
                "'{}' cannot be an image's alias (like debian/12: lower-case letters, digits and . _ + - in up to \
                 {ALIAS_PARTS_MAX} parts)",
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

/// How a person points at an image of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageReference {
    /// By name.
    Alias(Alias),
    /// By its whole id.
    Digest(Digest),
    /// By the first digits of its id, eight or more.
    Prefix(String),
}

impl FromStr for ImageReference {
    type Err = NameError;

    fn from_str(text: &str) -> Result<ImageReference, NameError> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
        if digits.len() == 2 * SHA256_BYTES && is_digest_prefix(&digits) {
            return Ok(ImageReference::Digest(digits.parse()?));
        }
        if digits.len() < 2 * SHA256_BYTES && is_digest_prefix(&digits) {
            return Ok(ImageReference::Prefix(digits));
        }
        Ok(ImageReference::Alias(text.parse()?))
    }
}

impl Display for ImageReference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageReference::Alias(alias) => alias.fmt(out),
            ImageReference::Digest(digest) => digest.fmt(out),
            ImageReference::Prefix(digits) => out.write_str(digits),
        }
    }
}

fn is_digest_prefix(text: &str) -> bool {
    text.len() >= PREFIX_DIGITS_MIN && text.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(digits: &str) -> Option<Vec<u8>> {
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16);
    let byte = |pair: &[u8]| Some((value(pair[0])? * 16 + value(pair[1])?) as u8);
    digits.as_bytes().chunks(2).map(byte).collect()
}

/// Typed text as it can stand in a message: not without end.
fn shown(text: &str) -> String {
    messages::shortened(text, ALIAS_CHARS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_that_could_be_paths_or_digests_are_refused() {
        for good in ["debian/12", "a", "ubuntu/24.04/minimal", "deadbee", "c++/1_0-2"] {
            assert_eq!(good.parse::<Alias>().unwrap().as_str(), good);
        }
        let long = "a".repeat(ALIAS_CHARS_MAX + 1);
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

    #[test]
    fn references_are_told_apart() {
        let digits = "0123456789abcdef".repeat(4);
        let whole = ImageReference::Digest(digits.parse().unwrap());
        assert_eq!(digits.parse(), Ok(whole.clone()));
        assert_eq!(format!("sha256:{digits}").parse(), Ok(whole));
        assert_eq!("01234567".parse(), Ok(ImageReference::Prefix("01234567".to_owned())));
        assert_eq!("0123456".parse(), Ok(ImageReference::Alias("0123456".parse().unwrap())));
        assert!("0123\u{1b}[2J".parse::<ImageReference>().unwrap_err().0.contains("0123\\u{1b}[2J"));
    }

    #[test]
    fn checksums_have_as_many_digits_as_their_kind() {
        assert!("sha256:00".parse::<Checksum>().is_err());
        assert!(Checksum::new(ChecksumKind::Sha512, &"g".repeat(128)).is_err());
        let upper = Checksum::new(ChecksumKind::Sha512, &"AB".repeat(64)).unwrap();
        assert_eq!(upper.to_string(), format!("sha512:{}", "ab".repeat(64)));
    }
}
