//! What user data was probably meant to be that cloud-init would pass over.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::kind::BEGINNINGS;
use super::{Kind, is_gzip};
use crate::ssh_keys;

/// First bytes of what packs files, other than gzip.
const PACKED: [(&[u8], &str); 5] = [
    (b"\xfd7zXZ\0", "xz"),
    (b"BZh", "bzip2"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"PK\x03\x04", "zip"),
    (b"\x1f\x9d", "compress"),
];
const FIRST_LINE: &str = "its first line has to be '#cloud-config', or '#!' and an interpreter";

/// Why it is refused, and what would be right. Nothing of it is repeated.
pub fn meant(bytes: &[u8]) -> String {
    if ssh_keys::is_private(bytes) {
        return "this is a private key, which belongs into no guest's user data".to_owned();
    }
    if let Some((_, name)) = PACKED.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return format!("is packed by {name}, which cloud-init cannot unpack; unpack it, or use gzip");
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return "is UTF-16 text, which cloud-init does not read; save it as UTF-8".to_owned();
    }
    if let Some(rest) = bytes.strip_prefix(b"\xef\xbb\xbf") {
        let rest = if Kind::of(rest).is_some() { "" } else { "; and then " };
        let more = if rest.is_empty() { "" } else { FIRST_LINE };
        return format!(
            "begins with an invisible byte order mark, at which cloud-init stops; save it without one{rest}{more}"
        );
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return "is not UTF-8 text, which cloud-init passes over; a program can be a part of a MIME message"
            .to_owned();
    };
    let line = text.trim_start().lines().next().unwrap_or("").trim_end();
    if let Some(what) = of_base64(text) {
        return format!(
            "is base64 of {what}, which cloud-init does not decode here; decode it first: base64 -d FILE"
        );
    }
    if let Some(beginning) = near(line) {
        return format!(
            "cloud-init would pass over it: its first line is not '{beginning}', to the letter; was that meant?"
        );
    }
    let lower = line.to_ascii_lowercase();
    if lower.starts_with("content-type:") || lower.starts_with("from ") {
        return "looks like a MIME message and has no line 'MIME-Version: 1.0' at its beginning".to_owned();
    }
    if is_config(text) {
        return "looks like a cloud-config document; put the line '#cloud-config' before all else".to_owned();
    }
    FIRST_LINE.to_owned()
}

/// What the text is base64 of, if that is something that would be taken.
fn of_base64(text: &str) -> Option<&'static str> {
    let joined: String = text.split_whitespace().collect();
    let bytes = STANDARD.decode(joined).ok().filter(|bytes| bytes.len() > 2)?;
    let kind = Kind::of(&bytes).map(Kind::words);
    kind.or_else(|| super::mime::is_message(&bytes).then_some("a MIME message"))
        .or(is_gzip(&bytes).then_some("gzip data"))
}

/// The beginning that a line is nearly.
fn near(line: &str) -> Option<&'static str> {
    if !line.starts_with(['#', '!']) {
        let bare = line.trim_end_matches(':').to_ascii_lowercase();
        return (bare == "cloud-config" || bare == "cloud-boothook").then(|| {
            BEGINNINGS
                .iter()
                .find(|(beginning, _)| beginning[1..] == bare)
                .map_or("#cloud-config", |(beginning, _)| *beginning)
        });
    }
    let squeezed = |text: &str| -> String {
        let letters = text.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '!' || *c == '/');
        letters.map(|c| c.to_ascii_lowercase()).collect()
    };
    let typed = squeezed(line);
    if typed.starts_with("!/") || line.starts_with("!#") || line.starts_with("#/") {
        return Some("#!");
    }
    let known: Vec<(String, &str)> =
        BEGINNINGS.iter().map(|(beginning, _)| (squeezed(beginning), *beginning)).collect();
    let nearest = messages::nearest(
        &typed,
        known.iter().map(|(squeezed, _)| squeezed.as_str()).filter(|it| it.len() > 1),
    )?;
    known.iter().find(|(squeezed, _)| squeezed == nearest).map(|(_, beginning)| *beginning)
}

/// Whether it is YAML or JSON with a key that cloud-init knows.
fn is_config(text: &str) -> bool {
    let Ok(Some(crate::yaml::Node { value: crate::yaml::Value::Map(map), .. })) = crate::yaml::load(text)
    else {
        return false;
    };
    map.iter().filter_map(|(key, _)| key.scalar()).any(|key| crate::cloud_config::KEYS.contains(&key))
}
