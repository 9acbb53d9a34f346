//! OCI images from registries. What documents say is read by [`oci_image`].
//!
//! Every piece is checked against the digest by which it is named. What is in the layers is not looked at
//! here.

mod registry;

use std::path::PathBuf;

use image_model::{Architecture, Digest};
use oci_image::{LayerCompression, OciConfig, OciImageError};

use crate::fetch::FetchError;

/// An OCI image whose layers are files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciImage {
    /// For which processors.
    pub architecture: Architecture,
    /// The digest of its manifest.
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
    pub compression: LayerCompression,
    /// The SHA-256 of the file, which was checked.
    pub digest: Digest,
    /// The SHA-256 that it has to have when it is decompressed. Whoever does that has to check it.
    pub diff_id: Digest,
    /// The file's length in bytes.
    pub bytes: u64,
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
    /// What the registry sent is no image, or none that is wanted.
    #[error(transparent)]
    Image(#[from] OciImageError),
}
