//! How whole files are compressed.

use serde::{Deserialize, Serialize};

/// How a file is compressed. bzip2 is not read: hardly any vendor uses it, and it is slow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// xz.
    Xz,
    /// Zstandard (RFC 8878).
    Zstd,
}

impl Compression {
    /// Its ending in a file's name.
    pub fn ending(self) -> Option<&'static str> {
        match self {
            Compression::None => None,
            Compression::Gzip => Some("gz"),
            Compression::Xz => Some("xz"),
            Compression::Zstd => Some("zst"),
        }
    }

    /// What a name's ending says.
    pub fn of_ending(ending: &str) -> Option<Compression> {
        [Compression::Gzip, Compression::Xz, Compression::Zstd]
            .into_iter()
            .find(|compression| compression.ending() == Some(ending))
    }
}
