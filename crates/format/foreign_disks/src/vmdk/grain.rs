//! Grains that are deflated, each behind a marker of its own ("Stream-Optimized Compressed Sparse Extents").

use std::io;

use disk::{FormatError, ImageFile, read_vec};
use flate2::{Decompress, FlushDecompress};

/// Number of the first sector, and length of the data.
const MARKER_BYTES: usize = 12;
/// Deflated data is not this much longer than what it came from.
const SLACK_BYTES: u64 = 64 << 10;

/// Lengths in bytes.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// Of a grain.
    pub(super) whole: u64,
    /// Of the part of this grain that is on the disk.
    pub(super) needed: u64,
    /// Of the file.
    pub(super) file: u64,
}

/// The grain whose marker is at `place` and that begins at `first_sector` of the disk.
pub(super) fn inflate(
    file: &dyn ImageFile,
    place: u64,
    first_sector: u64,
    sizes: Sizes,
) -> io::Result<Vec<u8>> {
    let marker = read_vec(file, place, MARKER_BYTES)?;
    let sector = u64::from_le_bytes(std::array::from_fn(|at| marker[at]));
    let data_bytes = u64::from(u32::from_le_bytes(std::array::from_fn(|at| marker[8 + at])));
    let end = place.checked_add(MARKER_BYTES as u64 + data_bytes);
    if end.is_none_or(|end| end > sizes.file) {
        return Err(FormatError::damaged("a grain lies behind the end of the file").into());
    }
    if sector != first_sector || data_bytes == 0 || data_bytes > sizes.whole + SLACK_BYTES {
        return Err(FormatError::damaged("a grain's marker does not fit its place").into());
    }
    let data = read_vec(file, place + MARKER_BYTES as u64, data_bytes as usize)?;
    let mut grain = vec![0; sizes.whole as usize];
    let mut stream = Decompress::new(true);
    let answer = stream.decompress(&data, &mut grain, FlushDecompress::Finish);
    if answer.is_err() || stream.total_out() < sizes.needed {
        return Err(FormatError::damaged("a compressed grain is damaged").into());
    }
    Ok(grain)
}
