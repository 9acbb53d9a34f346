//! User data: bytes that are recognised as cloud-init recognises them.
//!
//! ```text
//! bytes ─► gzip? ─► MIME? ─┬─ no ──► one part, by its first characters (kind)
//!                          └─ yes ─► a part each (mime) ─► gzip?, archive? ─► parts
//! ```
//!
//! What cloud-init would pass over in silence is refused, with what was probably meant ([`meant`]). Nothing of a
//! person's document is repeated in a message, but for the names of keys and of types.

mod kind;
mod meant;
mod mime;

use std::io::Read;

pub use kind::Kind;

use crate::cloud_config::ConfigError;
use crate::fields::Document;
use crate::{SeedReader, USER_DATA_MAX_BYTES, yaml};

/// What messages call it.
pub const DOCUMENT: &str = "user data";

/// A piece of user data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: Kind,
    /// Without what it was packed in.
    pub bytes: Vec<u8>,
    /// Which part of several, from 1 on.
    pub number: Option<usize>,
}

impl Part {
    /// As messages name it.
    pub fn document(&self) -> Document {
        Document { name: DOCUMENT, part: self.number }
    }

    /// An error about this part.
    pub fn fault(&self, why: impl std::fmt::Display) -> ConfigError {
        self.document().fault(why)
    }

    /// Its text.
    ///
    /// # Errors
    /// It is none.
    pub fn text(&self) -> Result<&str, ConfigError> {
        std::str::from_utf8(&self.bytes).map_err(|_| self.fault("is not UTF-8 text"))
    }
}

/// An error about a part.
fn fault(part: Option<usize>, why: impl std::fmt::Display) -> ConfigError {
    Document { name: DOCUMENT, part }.fault(why)
}

/// The parts of user data, each of a kind that cloud-init handles.
///
/// # Errors
/// cloud-init would pass over something, or could not run it.
pub fn parts(bytes: &[u8]) -> Result<Vec<Part>, ConfigError> {
    if bytes.len() > USER_DATA_MAX_BYTES {
        return Err(too_long());
    }
    let unpacked;
    let bytes = if is_gzip(bytes) {
        unpacked = gunzip(bytes, None)?;
        &unpacked
    } else {
        bytes
    };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(fault(None, "is empty; leave out --user-data"));
    }
    if mime::is_message(bytes) {
        return mime::parts(bytes);
    }
    let kind = Kind::of(bytes).ok_or_else(|| fault(None, meant::meant(bytes)))?;
    let parts = explode(Part { kind, bytes: bytes.to_vec(), number: None })?;
    parts.iter().try_for_each(check)?;
    Ok(parts)
}

/// Looks whether cloud-init will do something with all of it.
///
/// # Errors
/// It will not.
pub fn look(bytes: &[u8]) -> Result<Vec<Part>, ConfigError> {
    let parts = parts(bytes)?;
    for part in parts.iter().filter(|part| part.kind == Kind::CloudConfig) {
        crate::cloud_config::look(part)?;
    }
    Ok(parts)
}

/// What the first-boot service cannot do is refused.
///
/// # Errors
/// A part needs cloud-init.
pub fn for_service(bytes: &[u8]) -> Result<Vec<Part>, ConfigError> {
    let parts = parts(bytes)?;
    match parts.iter().find(|part| !matches!(part.kind, Kind::CloudConfig | Kind::Script)) {
        None => Ok(parts),
        Some(part) => Err(part.fault(format!(
            "is {}, which only cloud-init can do; take an image with cloud-init for it",
            part.kind.words()
        ))),
    }
}

/// The parts for whoever reads them.
///
/// # Errors
/// As for [`look`] and [`for_service`].
pub fn for_reader(reader: SeedReader, bytes: &[u8]) -> Result<Vec<Part>, ConfigError> {
    match reader {
        SeedReader::CloudInit => look(bytes),
        SeedReader::Service => for_service(bytes),
    }
}

/// What can be said of a part without knowing who reads it.
fn check(part: &Part) -> Result<(), ConfigError> {
    match part.kind {
        Kind::Script | Kind::ScriptPerBoot if !part.bytes.starts_with(b"#!") => {
            Err(part
                .fault("is a script that does not begin with '#!' and an interpreter: nothing could run it"))
        }
        Kind::Archive => Err(part.fault("is an archive within an archive, which cloud-init does not read")),
        _ => Ok(()),
    }
}

/// The parts of a `#cloud-config-archive`, or the part itself.
fn explode(part: Part) -> Result<Vec<Part>, ConfigError> {
    if part.kind != Kind::Archive {
        return Ok(vec![part]);
    }
    let document = yaml::load(part.text()?)
        .map_err(|error| part.fault(format!("line {}: {}", error.line, error.why)))?;
    let Some(yaml::Node { value: yaml::Value::List(entries), .. }) = document else {
        return Err(part.fault("is an archive, which has to be a list of parts"));
    };
    let parts = entries.iter().enumerate().map(|(index, entry)| archived(index + 1, entry));
    parts.collect()
}

/// A part of an archive: text, or `content` and perhaps `type`.
fn archived(number: usize, entry: &yaml::Node) -> Result<Part, ConfigError> {
    let number = Some(number);
    let field = |wanted: &str| match &entry.value {
        yaml::Value::Map(map) => {
            map.iter().find(|(key, _)| key.scalar() == Some(wanted)).map(|(_, value)| value)
        }
        _ => None,
    };
    let content = match &entry.value {
        yaml::Value::Map(_) => field("content").and_then(yaml::Node::scalar),
        _ => entry.scalar(),
    };
    let Some(content) = content else {
        return Err(fault(number, format!("line {}: has no text in it under 'content'", entry.line)));
    };
    let kind = match field("type").and_then(yaml::Node::scalar) {
        Some(name) => Kind::of_type(name).ok_or_else(|| fault(number, unknown_type(name)))?,
        // What cloud-init takes for settings where nothing else is said.
        None => Kind::of(content.as_bytes()).unwrap_or(Kind::CloudConfig),
    };
    Ok(Part { kind, bytes: content.as_bytes().to_vec(), number })
}

/// The type is a word of a person's; what is no type is not repeated.
fn unknown_type(name: &str) -> String {
    let fits = name.len() <= 80
        && name.contains('/')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "/-+._".contains(c));
    let name = if fits { format!("'{name}'") } else { "that it has".to_owned() };
    format!(
        "the type {name} is none that cloud-init handles, such as text/cloud-config or text/x-shellscript"
    )
}

/// RFC 1952, 2.3.1.
fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

fn gunzip(bytes: &[u8], number: Option<usize>) -> Result<Vec<u8>, ConfigError> {
    let mut unpacked = Vec::new();
    let most = USER_DATA_MAX_BYTES as u64 + 1;
    let read = flate2::read::MultiGzDecoder::new(bytes).take(most).read_to_end(&mut unpacked);
    match read {
        Err(_) => {
            Err(fault(number, "begins as gzip data does, and cannot be unpacked: it is cut off or damaged"))
        }
        Ok(length) if length > USER_DATA_MAX_BYTES => Err(too_long()),
        Ok(_) => Ok(unpacked),
    }
}

/// A file's content without gzip; nothing if it is not packed so, or longer than any user data.
pub fn gunzip_content(bytes: &[u8]) -> Option<Vec<u8>> {
    gunzip(bytes, None).ok()
}

fn too_long() -> ConfigError {
    fault(None, format!("is longer than {} MiB, unpacked", USER_DATA_MAX_BYTES >> 20))
}

#[cfg(test)]
mod tests;
