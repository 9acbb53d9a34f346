//! What can be wrong with an image.

use image_model::Architecture;

/// Longest piece of a message that may have been made of the image's own words, in characters.
const TEXT_CHARS_MAX: usize = 400;

/// Why an image is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OciImageError {
    /// It is not made for these processors.
    #[error("there is no such image for linux/{wanted}; there are: {}", if found.is_empty() { "none" } else { found })]
    Platform {
        /// What was asked for.
        wanted: Architecture,
        /// What there is, in words.
        found: String,
    },
    /// It is larger than allowed.
    #[error("the image's layers have {} together; {} are allowed", messages::Bytes(*bytes), messages::Bytes(*bytes_max))]
    TooLarge {
        /// What it has.
        bytes: u64,
        /// What it may have.
        bytes_max: u64,
    },
    /// It breaks its own rules.
    #[error("this is no sound OCI image: {0}")]
    Nonsense(String),
}

impl OciImageError {
    /// It breaks a rule; `what` may be as long as it likes, and is cut.
    pub fn nonsense(what: impl Into<String>) -> OciImageError {
        OciImageError::Nonsense(cut(what.into()))
    }

    pub(crate) fn platform(wanted: Architecture, found: &[String]) -> OciImageError {
        OciImageError::Platform { wanted, found: cut(found.join(", ")) }
    }
}

/// Documents are long, and so are words in them.
fn cut(mut text: String) -> String {
    if let Some((at, _)) = text.char_indices().nth(TEXT_CHARS_MAX) {
        text.truncate(at);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_not_as_long_as_documents() {
        let error = OciImageError::nonsense("é".repeat(1 << 20)).to_string();
        assert!(error.ends_with("é…") && error.len() < 1000, "{}", error.len());
        assert_eq!(OciImageError::nonsense("short").to_string(), "this is no sound OCI image: short");
    }
}
