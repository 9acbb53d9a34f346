//! How whole files are compressed.

use serde::{Deserialize, Serialize};

/// How a file is compressed.
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
    /// bzip2.
    Bzip2,
    /// A zip archive with one file in it.
    Zip,
}

impl Compression {
    /// All that are one.
    pub const ALL: [Compression; 5] =
        [Compression::Gzip, Compression::Xz, Compression::Zstd, Compression::Bzip2, Compression::Zip];

    /// Its ending in a file's name.
    pub fn ending(self) -> Option<&'static str> {
        match self {
            Compression::None => None,
            Compression::Gzip => Some("gz"),
            Compression::Xz => Some("xz"),
            Compression::Zstd => Some("zst"),
            Compression::Bzip2 => Some("bz2"),
            Compression::Zip => Some("zip"),
        }
    }

    /// What a name's ending says.
    pub fn of_ending(ending: &str) -> Option<Compression> {
        Compression::ALL.into_iter().find(|compression| compression.ending() == Some(ending))
    }
}
