//! Text that strangers wrote, for messages.

/// Longest text that is shown, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 4096;

/// Text of bounded length without anything that a terminal or a log would obey.
pub(crate) fn printable(text: &str) -> String {
    messages::shortened(text, TEXT_BYTES_MAX)
}
