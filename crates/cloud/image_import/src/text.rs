//! Text that strangers wrote, for messages.

/// Longest text that is shown, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 4096;

/// Text of bounded length without anything that a terminal or a log would obey.
pub(crate) fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(TEXT_BYTES_MAX));
    for c in text.chars() {
        if line.len() >= TEXT_BYTES_MAX {
            line.push('…');
            break;
        }
        match c {
            c if c.is_control() => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    line
}
