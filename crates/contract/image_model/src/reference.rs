//! How a person points at an image.

use std::fmt::{self, Display};
use std::str::FromStr;

use crate::error::NameError;
use crate::{Alias, Digest};

/// Hexadecimal digits from which on a word is the start of a digest, and no alias.
const PREFIX_DIGITS_MIN: usize = 8;

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
        if digits.len() == 2 * Digest::BYTES && is_digest_prefix(&digits) {
            return Ok(ImageReference::Digest(digits.parse()?));
        }
        if digits.len() < 2 * Digest::BYTES && is_digest_prefix(&digits) {
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

/// Whether a word could be the start of a digest.
pub(crate) fn is_digest_prefix(text: &str) -> bool {
    text.len() >= PREFIX_DIGITS_MIN && text.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
