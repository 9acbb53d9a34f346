//! Archives with OCI images.

use std::fs::File;

use oci_image::{ArchivedImage, ByteRange, OciOptions};

use messages::in_words;

use crate::position::{PositionReader, length_bytes};
use crate::wire::Answered;

/// Finds the image and where its layers lie.
pub(super) fn read_archive(name: &str, archive: &File, options: OciOptions) -> Answered<ArchivedImage> {
    let archive_bytes = length_bytes(archive).map_err(|error| in_words(&error))?;
    let reader = PositionReader::new(archive, ByteRange::whole(archive_bytes), |_| ());
    oci_image::read_archive(reader, options).map_err(|error| format!("{name}: {}", in_words(&error)))
}
