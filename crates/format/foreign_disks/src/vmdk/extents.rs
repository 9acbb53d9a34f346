//! A disk in several files, one behind the other.

use std::io;
use std::sync::Arc;

use disk::{FormatError, ImageFile, Layer, MapPiece, RawLayer, fill_with_zeros};
use guest_memory::IoBuffers;

use super::descriptor::{Descriptor, Place};
use super::grains::open_extent;

/// All of the disk.
pub(super) struct Extents {
    parts: Vec<Part>,
    size_bytes: u64,
}

/// An extent on the disk.
struct Part {
    start_bytes: u64,
    end_bytes: u64,
    /// What is in it, and from where on; zeros where there is nothing.
    contents: Option<(Arc<dyn Layer>, u64)>,
}

impl Extents {
    /// The disk in `files`, which are those that the descriptor names, in its order.
    pub(super) fn open(
        descriptor: &Descriptor,
        files: Vec<Arc<dyn ImageFile>>,
    ) -> Result<Extents, FormatError> {
        let mut files = files.into_iter();
        let mut parts = Vec::new();
        let mut start_bytes = 0;
        for extent in &descriptor.extents {
            let mut file = |name: &str| files.next().ok_or_else(|| FormatError::PartMissing(name.to_owned()));
            let (contents, name): (Option<(Arc<dyn Layer>, u64)>, _) = match &extent.place {
                Place::Zero => (None, ""),
                Place::Flat { name, offset_bytes } => {
                    (Some((Arc::new(RawLayer::of_file(file(name)?)?), *offset_bytes)), name)
                }
                Place::Sparse { name } => (Some((Arc::new(open_extent(file(name)?)?), 0)), name),
            };
            if let Some((layer, offset_bytes)) = &contents
                && offset_bytes.saturating_add(extent.length_bytes) > layer.size_bytes()
            {
                return Err(FormatError::damaged(format!("its file '{name}' is too short")));
            }
            let end_bytes = start_bytes + extent.length_bytes;
            parts.push(Part { start_bytes, end_bytes, contents });
            start_bytes = end_bytes;
        }
        Ok(Extents { parts, size_bytes: start_bytes })
    }

    /// The part with the byte at `offset_bytes`, which lies on the disk.
    fn part(&self, offset_bytes: u64) -> &Part {
        &self.parts[self.parts.partition_point(|part| part.end_bytes <= offset_bytes)]
    }
}

impl Layer for Extents {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read(&self, buffers: &IoBuffers, offset_bytes: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buffers.len_bytes() {
            let at_bytes = offset_bytes + done as u64;
            let part = self.part(at_bytes);
            let length = (part.end_bytes - at_bytes).min((buffers.len_bytes() - done) as u64) as usize;
            let piece = buffers.slice(done, length);
            match &part.contents {
                Some((layer, skip_bytes)) => layer.read(&piece, skip_bytes + at_bytes - part.start_bytes)?,
                None => fill_with_zeros(&piece),
            }
            done += length;
        }
        Ok(())
    }

    fn locate(&self, offset_bytes: u64, length_bytes: u64) -> io::Result<MapPiece> {
        let part = self.part(offset_bytes);
        let length_bytes = length_bytes.min(part.end_bytes - offset_bytes);
        let (zero, length_bytes) = match &part.contents {
            Some((layer, skip_bytes)) => {
                let piece = layer.locate(skip_bytes + offset_bytes - part.start_bytes, length_bytes)?;
                (piece.zero, piece.length_bytes)
            }
            None => (true, length_bytes),
        };
        // Which of the files it lies in, a place alone does not say.
        let (data, start_bytes) = (!zero, offset_bytes);
        Ok(MapPiece { start_bytes, length_bytes, depth: 0, zero, data, offset_bytes: None })
    }
}
