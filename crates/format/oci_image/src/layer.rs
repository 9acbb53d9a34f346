//! Layers: how they are compressed, where they lie, how much they may have.

use image_model::Architecture;
use serde::{Deserialize, Serialize};

use crate::OciImageError;

/// How a layer is compressed (image-spec, "Image Layer Filesystem Changeset").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LayerCompression {
    /// Not at all.
    None,
    /// gzip, of any number of members.
    Gzip,
    /// zstd, of any number of frames.
    Zstd,
}

/// Where something lies in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteRange {
    /// Of its first byte.
    pub offset_bytes: u64,
    /// Its length.
    pub length_bytes: u64,
}

impl ByteRange {
    /// All of a file of this length.
    pub fn whole(length_bytes: u64) -> ByteRange {
        ByteRange { offset_bytes: 0, length_bytes }
    }

    /// Whether it ends within a file of this length.
    pub fn lies_in(self, file_bytes: u64) -> bool {
        self.offset_bytes.checked_add(self.length_bytes).is_some_and(|end| end <= file_bytes)
    }
}

/// What is pulled or read, and what is allowed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct OciOptions {
    /// For which processors.
    pub architecture: Architecture,
    /// What all layers together may have, as they are compressed.
    pub bytes_max: u64,
}

/// How a layer of this media type is compressed.
///
/// # Errors
/// It is no layer that is read here.
pub fn layer_compression(media_type: &str) -> Result<LayerCompression, OciImageError> {
    match media_type {
        "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => {
            Ok(LayerCompression::None)
        }
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(LayerCompression::Gzip),
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(LayerCompression::Zstd),
        _ => Err(OciImageError::nonsense(format!(
            "a layer is of the kind '{}', which is not read",
            media_type.escape_default()
        ))),
    }
}

/// Adds up what layers have, and refuses more than is allowed.
///
/// # Errors
/// It is more.
pub fn check_sizes(sizes: impl Iterator<Item = u64>, options: OciOptions) -> Result<u64, OciImageError> {
    let bytes = sizes.fold(0_u64, u64::saturating_add);
    let bytes_max = options.bytes_max;
    if bytes > bytes_max { Err(OciImageError::TooLarge { bytes, bytes_max }) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_within_their_files() {
        assert!(ByteRange::whole(5).lies_in(5));
        assert!(!ByteRange::whole(6).lies_in(5));
        assert!(ByteRange { offset_bytes: 5, length_bytes: 0 }.lies_in(5));
        assert!(!ByteRange { offset_bytes: 2, length_bytes: u64::MAX }.lies_in(u64::MAX));
    }

    #[test]
    fn sizes_are_added_up() {
        let options = OciOptions { architecture: Architecture::X86_64, bytes_max: 10 };
        assert_eq!(check_sizes([4, 6].into_iter(), options), Ok(10));
        assert!(check_sizes([4, 7].into_iter(), options).is_err());
        assert!(check_sizes([u64::MAX, 2].into_iter(), options).is_err());
    }

    #[test]
    fn layers_are_known_by_their_media_types() {
        let kind = |ending: &str| layer_compression(&format!("application/vnd.oci.image.layer.v1.{ending}"));
        assert_eq!(kind("tar"), Ok(LayerCompression::None));
        assert_eq!(kind("tar+gzip"), Ok(LayerCompression::Gzip));
        assert_eq!(kind("tar+zstd"), Ok(LayerCompression::Zstd));
        assert!(kind("tar+xz").is_err() && kind("").is_err());
    }
}
