//! Which part of a disk is where.

use std::path::Path;
use std::sync::Arc;

use image_model::DiskFormat;

use super::{OfflineError, io_error, open_raw};
use crate::error::OpenError;
use crate::layer::{Layer, RawLayer};
use crate::map_piece::MapPiece;
use crate::qcow2::{self, BackingPolicy};
use crate::raw_contents::RawContents;

/// Calls `each` with the parts of a disk in order. Neighbours that say the same are one.
///
/// # Errors
/// The disk, or what is behind it, cannot be opened or read.
pub fn map(
    path: &Path,
    format: DiskFormat,
    contents: RawContents,
    mut each: impl FnMut(MapPiece),
) -> Result<(), OfflineError> {
    let layer = open_layer(path, format, contents, BackingPolicy::Open)?;
    let mut last: Option<MapPiece> = None;
    let mut at = 0;
    while at < layer.size_bytes() {
        let piece = layer.locate(at, layer.size_bytes() - at).map_err(io_error(path, "read"))?;
        at += piece.length_bytes;
        match &mut last {
            Some(last) if continues(last, &piece) => last.length_bytes += piece.length_bytes,
            _ => last.replace(piece).into_iter().for_each(&mut each),
        }
    }
    last.into_iter().for_each(each);
    Ok(())
}

fn continues(last: &MapPiece, next: &MapPiece) -> bool {
    let place = match (last.offset_bytes, next.offset_bytes) {
        (None, None) => true,
        (Some(last_bytes), Some(next_bytes)) => last_bytes + last.length_bytes == next_bytes,
        _ => false,
    };
    place && (last.depth, last.zero, last.data) == (next.depth, next.zero, next.data)
}

/// A disk with what is behind it, for reading.
pub(super) fn open_layer(
    path: &Path,
    format: DiskFormat,
    contents: RawContents,
    policy: BackingPolicy,
) -> Result<Arc<dyn Layer>, OpenError> {
    Ok(match format {
        DiskFormat::Raw => Arc::new(RawLayer::new(open_raw(path, contents)?)),
        DiskFormat::Qcow2 => Arc::new(qcow2::open_image(path, true, policy)?),
    })
}
