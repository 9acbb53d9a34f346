//! OCI images: from a registry, or from an archive.
//!
//! ```text
//!  registry ── manifest or index ──► manifest for our processors ──► configuration, layers ──┐
//!                                                                                            ├──► OciImage
//!  archive ──► index.json or manifest.json ──────────────────────► configuration, layers ────┘
//! ```
//!
//! Every piece is checked against the digest by which it is named. What is in the layers is not looked at
//! here.

mod archive;
mod manifest;
mod reference;
mod registry;

use std::io;
use std::path::{Path, PathBuf};

use image_store::{Architecture, Digest};

use crate::fetch::FetchError;
use image_import::Compression;

pub use archive::read_archive;
pub use manifest::OciConfig;
pub use reference::OciReference;

/// An OCI image whose pieces are files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciImage {
    /// For which processors.
    pub architecture: Architecture,
    /// The digest of its manifest; of its configuration, if it came out of `docker save`.
    pub digest: Digest,
    /// Its layers, the lowest first.
    pub layers: Vec<Layer>,
    /// What a container would be started with.
    pub config: OciConfig,
}

/// A layer: a tar archive of what it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The file. Layers that are the same are the same file.
    pub path: PathBuf,
    /// How it is compressed, as was stated.
    pub compression: Compression,
    /// The SHA-256 of the file, which was checked.
    pub digest: Digest,
    /// The SHA-256 that it has to have when it is decompressed. Whoever does that has to check it.
    pub diff_id: Digest,
    /// The file's length in bytes.
    pub bytes: u64,
}

/// What is pulled or read, and what is allowed.
#[derive(Clone, Copy, Debug)]
pub struct OciOptions {
    /// For which processors.
    pub architecture: Architecture,
    /// What all layers together may have, as they are compressed.
    pub bytes_max: u64,
}

/// Why an OCI image could not be had.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// From the network.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The registry wants more than an anonymous login.
    #[error(
        "the registry {0} wants a login, which Yagura cannot do; copy the image to a registry that needs \
         none, or save it to a file"
    )]
    Login(String),
    /// There is no such image.
    #[error("there is no image {0}; check its name and its tag")]
    NotFound(String),
    /// It is not made for these processors.
    #[error("there is no such image for linux/{wanted}; there are: {}", if found.is_empty() { "none".to_owned() } else { found.join(", ") })]
    Platform {
        /// What was asked for.
        wanted: Architecture,
        /// What there is.
        found: Vec<String>,
    },
    /// It is larger than allowed.
    #[error("the image's layers have {bytes} bytes together; {bytes_max} are allowed")]
    TooLarge {
        /// What it has.
        bytes: u64,
        /// What it may have.
        bytes_max: u64,
    },
    /// It breaks its own rules.
    #[error("this is no sound OCI image: {0}")]
    Nonsense(String),
    /// The host refused.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl OciError {
    fn io(operation: &'static str, path: &Path) -> impl Fn(io::Error) -> OciError {
        let path = path.to_owned();
        move |source| OciError::Io { operation, path: path.clone(), source }
    }
}

/// Adds up what layers have, and refuses more than is allowed.
fn check_sizes(sizes: impl Iterator<Item = u64>, options: OciOptions) -> Result<u64, OciError> {
    let bytes = sizes.fold(0_u64, u64::saturating_add);
    let bytes_max = options.bytes_max;
    if bytes > bytes_max { Err(OciError::TooLarge { bytes, bytes_max }) } else { Ok(bytes) }
}
