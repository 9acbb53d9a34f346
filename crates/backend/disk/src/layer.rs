//! What an image can have behind it: something that is read only.

use std::io;
use std::sync::Arc;

use guest_memory::IoBuffers;

use crate::host_file::HostFile;
use crate::image_file::{ImageFile, fill_with_zeros};

/// The contents of a disk behind another.
pub(crate) trait Layer: Send + Sync {
    /// Its length in bytes.
    fn size_bytes(&self) -> u64;

    /// Fills the buffers from `offset_bytes` on. The range lies in the layer.
    fn read(&self, buffers: &IoBuffers, offset_bytes: u64) -> io::Result<()>;
}

/// A raw file behind an image. Its last sector may be cut short.
pub(crate) struct RawLayer(pub(crate) HostFile);

impl Layer for RawLayer {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes
    }

    fn read(&self, buffers: &IoBuffers, offset_bytes: u64) -> io::Result<()> {
        self.0.read(buffers.slice(0, buffers.len_bytes()), offset_bytes)
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
