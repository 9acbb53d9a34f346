//! Words that cannot be used.

/// A word that cannot be a name: what was typed, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(pub String);

/// Longest text of a person that stands in a message.
const SHOWN_CHARS_MAX: usize = 128;

/// Typed text as it can stand in a message: not without end.
pub(crate) fn shown(text: &str) -> String {
    messages::shortened(text, SHOWN_CHARS_MAX)
}
