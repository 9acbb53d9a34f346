//! Compressing RAM that lies in a plain file, after the guest runs on.

use super::{PagesFile, RamError, RamIndex, RamReader};

/// Fast, and most of what can be had.
const LEVEL: i32 = 1;

/// Writes what `from` has to `to`, which is empty, compressed; the index of that. `index` is the one of `from`, which is
/// plain.
///
/// # Errors
/// A page is damaged, or the host refuses.
pub fn compress(
    index: &RamIndex,
    from: impl PagesFile + Sync,
    to: &impl PagesFile,
) -> Result<RamIndex, RamError> {
    let mut compressed = RamIndex { is_compressed: true, ..index.clone() };
    let mut frames = Vec::with_capacity(index.pieces.len());
    let mut at = 0;
    let reader = RamReader::new(from, index.file_bytes(), index)?;
    reader.each_piece(|_, pages| {
        let frame = zstd::bulk::compress(pages, LEVEL)?;
        to.write_at(&frame, at)?;
        at += frame.len() as u64;
        frames.push(u32::try_from(frame.len()).map_err(std::io::Error::other)?);
        Ok(())
    })?;
    compressed.pieces.iter_mut().zip(frames).for_each(|(piece, bytes)| piece.frame_bytes = bytes);
    Ok(compressed)
}
