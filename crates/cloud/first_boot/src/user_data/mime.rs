//! MIME messages with several parts (RFC 2045, RFC 2046).

use mail_parser::{MessageParser, MimeHeaders, PartType};

use super::{Kind, Part, check, explode, fault, gunzip, is_gzip, unknown_type};
use crate::cloud_config::ConfigError;

/// cloud-init looks for this so far into the data.
const MARK: &[u8] = b"mime-version:";
const HEAD_BYTES: usize = 4096;
/// More parts than any sensible message has.
const PARTS_MAX: usize = 1000;
/// Types that only say that a part is packed.
const PACKED: [&str; 8] = [
    "application/gzip",
    "application/gzip-compressed",
    "application/gzipped",
    "application/x-compress",
    "application/x-compressed",
    "application/x-gunzip",
    "application/x-gzip",
    "application/x-gzip-compressed",
];
/// Types that say nothing of what is in a part, so that it is looked at.
const SAYING_NOTHING: [&str; 3] = ["text/plain", "text/x-not-multipart", "text/x-shellscript"];

/// Whether cloud-init takes it for a message. What begins as something else has no header at all.
pub fn is_message(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(HEAD_BYTES)];
    let marked = head.to_ascii_lowercase().windows(MARK.len()).any(|window| window == MARK);
    marked && Kind::of(bytes).is_none()
}

/// The parts of a message.
pub fn parts(bytes: &[u8]) -> Result<Vec<Part>, ConfigError> {
    // A line before the headers as mail boxes have it, which Python's reader skips.
    let bytes = match bytes.strip_prefix(b"From ") {
        Some(rest) => &rest[rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1)..],
        None => bytes,
    };
    let message = MessageParser::default().parse(bytes);
    let message = message.ok_or_else(|| fault(None, "is a MIME message that cannot be read"))?;
    let leaves = message.parts.iter().filter(|part| !matches!(part.body, PartType::Multipart(_)));
    if message.parts.len() > PARTS_MAX {
        return Err(fault(None, format!("is a MIME message with more than {PARTS_MAX} parts")));
    }
    let mut parts = Vec::new();
    let has_handler = message.parts.iter().any(|part| type_of(part) == "text/part-handler");
    for (index, leaf) in leaves.enumerate() {
        let number = Some(index + 1);
        let mut name = type_of(leaf);
        let mut data = leaf.contents().to_vec();
        if PACKED.contains(&&*name) {
            if !is_gzip(&data) {
                return Err(fault(number, "is said to be packed by gzip, and is not"));
            }
            data = gunzip(&data, number)?;
            name = SAYING_NOTHING[0].to_owned();
        }
        let found = SAYING_NOTHING.contains(&&*name).then(|| Kind::of(&data)).flatten();
        let Some(kind) = found.or_else(|| Kind::of_type(&name)) else {
            // Python in another part may handle it.
            if has_handler {
                continue;
            }
            return Err(fault(
                number,
                if name == SAYING_NOTHING[0] { super::meant::meant(&data) } else { unknown_type(&name) },
            ));
        };
        parts.extend(explode(Part { kind, bytes: data, number })?);
    }
    if parts.is_empty() {
        return Err(fault(None, "is a MIME message without parts that cloud-init handles"));
    }
    parts.iter().try_for_each(check)?;
    Ok(parts)
}

/// The type of a part as it states it; `text/plain` where it does not (RFC 2045, 5.2).
fn type_of(part: &mail_parser::MessagePart<'_>) -> String {
    let stated = part.content_type().map(|stated| {
        let sub = stated.subtype().unwrap_or("plain");
        format!("{}/{sub}", stated.ctype())
    });
    stated.unwrap_or_else(|| SAYING_NOTHING[0].to_owned()).to_ascii_lowercase()
}
