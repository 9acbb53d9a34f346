//! What OCI images say: names, manifests, indexes, configurations, and archives with all of these in them.
//!
//! ```text
//!  registry ── manifest or index ──► choose ──► manifest ──► configuration, layers     (image_sources asks)
//!  archive ──► read_archive: index.json or manifest.json ──► configuration, layers' ranges
//! ```
//!
//! Documents are checked against the digests by which they are named. What is in the layers is not looked at here:
//! whoever decompresses one has to check its `diff_id`. There is no network, no file is opened and none is written;
//! archives are foreign, and are read in a confined process (`image_import`).

#![forbid(unsafe_code)]

mod archive;
mod config;
mod error;
mod layer;
mod manifest;
mod reference;

pub use archive::{ArchivedImage, ArchivedLayer, read_archive};
pub use config::{CONFIG_BYTES_MAX, Config, OciConfig, parse_config};
pub use error::OciImageError;
pub use layer::{ByteRange, LayerCompression, OciOptions, check_sizes, layer_compression};
pub use manifest::{DOCUMENT_BYTES_MAX, Descriptor, LAYERS_MAX, Manifest, choose, parse_manifest};
pub use reference::OciReference;
