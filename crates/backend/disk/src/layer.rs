//! What an image can have behind it: something that is read only.

use std::fs::File;
use std::io;
use std::sync::Arc;

use guest_memory::IoBuffers;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::host_file::HostFile;
use crate::image_file::{ImageFile, fill_with_zeros};
use crate::map_piece::MapPiece;

/// The contents of a disk behind another.
pub trait Layer: Send + Sync {
    /// Its length in bytes.
    fn size_bytes(&self) -> u64;

    /// Fills the buffers from `offset_bytes` on. The range lies in the layer.
    fn read(&self, buffers: &IoBuffers, offset_bytes: u64) -> io::Result<()>;

    /// Where the start of a range is that lies in the layer.
    fn locate(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<MapPiece>;
}

/// A raw file behind an image. Its last sector may be cut short.
pub struct RawLayer {
    file: Arc<dyn ImageFile>,
    /// Where there are holes to be asked for.
    host: Option<Arc<File>>,
    size_bytes: u64,
}

impl RawLayer {
    /// All of a file of the host.
    pub fn new(host: HostFile) -> RawLayer {
        RawLayer { host: Some(Arc::clone(&host.file)), size_bytes: host.size_bytes, file: Arc::new(host) }
    }

    /// All of any file.
    ///
    /// # Errors
    /// It cannot be measured.
    pub fn of_file(file: Arc<dyn ImageFile>) -> io::Result<RawLayer> {
        Ok(RawLayer { host: file.host_file(), size_bytes: file.len_bytes()?, file })
    }
}

impl Layer for RawLayer {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read(&self, buffers: &IoBuffers, offset_bytes: u64) -> io::Result<()> {
        self.file.read(buffers.slice(0, buffers.len_bytes()), offset_bytes)
    }

    fn locate(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<MapPiece> {
        let end_bytes = offset_bytes + length_bytes;
        let piece = |until_bytes: u64, data: bool| MapPiece {
            start_bytes: offset_bytes,
            length_bytes: until_bytes.min(end_bytes) - offset_bytes,
            depth: 0,
            zero: !data,
            data,
            offset_bytes: Some(offset_bytes),
        };
        let Some(host) = &self.host else { return Ok(piece(end_bytes, true)) };
        match seek(host, SeekFrom::Data(offset_bytes)) {
            Ok(data_bytes) if data_bytes > offset_bytes => Ok(piece(data_bytes, false)),
            Ok(_) => match seek(host, SeekFrom::Hole(offset_bytes)) {
                Ok(hole_bytes) if hole_bytes > offset_bytes => Ok(piece(hole_bytes, true)),
                _ => Ok(piece(end_bytes, true)),
            },
            Err(Errno::NXIO) => Ok(piece(end_bytes, false)),
            // A device, or a file system that knows no holes.
            Err(_) => Ok(piece(end_bytes, true)),
        }
    }
}

/// Fills the buffers out of a layer that may end before them or not be there: zeros follow it.
pub(crate) fn read_behind(
    layer: Option<&Arc<dyn Layer>>,
    buffers: &IoBuffers,
    offset_bytes: u64,
) -> io::Result<()> {
    let Some(layer) = layer else {
        fill_with_zeros(buffers);
        return Ok(());
    };
    let length = buffers.len_bytes();
    let there = layer.size_bytes().saturating_sub(offset_bytes).min(length as u64) as usize;
    if there > 0 {
        layer.read(&buffers.slice(0, there), offset_bytes)?;
    }
    fill_with_zeros(&buffers.slice(there, length - there));
    Ok(())
}

/// Where the start of a range is, of which a layer in front says nothing.
pub(crate) fn locate_behind(
    layer: Option<&Arc<dyn Layer>>,
    offset_bytes: u64,
    length_bytes: u64,
) -> io::Result<MapPiece> {
    let there = layer.map_or(0, |layer| layer.size_bytes().saturating_sub(offset_bytes)).min(length_bytes);
    match layer {
        Some(layer) if there > 0 => {
            let piece = layer.locate(offset_bytes, there)?;
            Ok(MapPiece { depth: piece.depth + 1, ..piece })
        }
        _ => Ok(MapPiece {
            start_bytes: offset_bytes,
            length_bytes,
            depth: 0,
            zero: true,
            data: false,
            offset_bytes: None,
        }),
    }
}
