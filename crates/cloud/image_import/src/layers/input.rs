//! Layers as streams: read from their files, unpacked, and counted.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;

use super::error::LayerError;
use crate::inputs::LayerCompression;

/// Bytes of a file that are read at once.
const CHUNK_BYTES: usize = 128 << 10;
/// Largest window of a zstd frame, as a power of two: 128 MiB, as the `zstd` tool allows without being asked.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Reads a file at positions of its own: the descriptor's is shared with the parent.
pub(super) struct PositionReader<F> {
    file: File,
    offset_bytes: u64,
    told: F,
}

impl<F: FnMut(u64)> PositionReader<F> {
    /// From the beginning; `told` hears of bytes that were read.
    pub(super) fn new(file: File, told: F) -> PositionReader<F> {
        PositionReader { file, offset_bytes: 0, told }
    }
}

impl<F: FnMut(u64)> Read for PositionReader<F> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read_at(out, self.offset_bytes)?;
        self.offset_bytes += length as u64;
        (self.told)(length as u64);
        Ok(length)
    }
}

/// What a layer is when unpacked.
pub(super) fn unpacked<'a>(
    compression: LayerCompression,
    packed: &'a mut dyn Read,
) -> io::Result<Box<dyn Read + 'a>> {
    let packed = BufReader::with_capacity(CHUNK_BYTES, packed);
    Ok(match compression {
        LayerCompression::None => Box::new(packed),
        LayerCompression::Gzip => Box::new(BufReader::new(MultiGzDecoder::new(packed))),
        LayerCompression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(BufReader::new(decoder))
        }
    })
}

/// How many bytes all layers together may still unpack to.
#[derive(Clone)]
pub(super) struct Budget {
    left_bytes: Rc<Cell<u64>>,
    limit: u64,
}

impl Budget {
    pub(super) fn new(limit: u64) -> Budget {
        Budget { left_bytes: Rc::new(Cell::new(limit)), limit }
    }

    /// Whether that many bytes are left.
    pub(super) fn check(&self, bytes: u64) -> Result<(), LayerError> {
        if bytes > self.left_bytes.get() { Err(LayerError::Expands { limit: self.limit }) } else { Ok(()) }
    }

    /// Takes bytes off.
    pub(super) fn spend(&self, bytes: u64) -> Result<(), LayerError> {
        self.check(bytes)?;
        self.left_bytes.set(self.left_bytes.get() - bytes);
        Ok(())
    }
}
