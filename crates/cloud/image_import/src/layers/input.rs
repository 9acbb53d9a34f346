//! Layers as streams: read from their files, unpacked, counted, and hashed.

use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use image_model::Digest;
use oci_image::LayerCompression;
use sha2::{Digest as _, Sha256};

use super::error::LayerError;

/// Bytes of a file that are read at once.
const CHUNK_BYTES: usize = 128 << 10;
/// Largest window of a zstd frame, as a power of two: 128 MiB, as the `zstd` tool allows without being asked.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

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

/// Takes the SHA-256 of what is read, where one is stated.
pub(super) struct Hashed<'a> {
    unpacked: &'a mut dyn Read,
    stated: Option<(Digest, Sha256)>,
}

impl<'a> Hashed<'a> {
    pub(super) fn new(unpacked: &'a mut dyn Read, diff_id: Option<Digest>) -> Hashed<'a> {
        Hashed { unpacked, stated: diff_id.map(|diff_id| (diff_id, Sha256::new())) }
    }

    /// Whether what was read is what was stated.
    pub(super) fn check(self) -> Result<(), LayerError> {
        let Some((stated, hasher)) = self.stated else { return Ok(()) };
        let found = Digest::from_bytes(hasher.finalize().into());
        if found == stated { Ok(()) } else { Err(LayerError::DiffId { found, stated }) }
    }
}

impl Read for Hashed<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.unpacked.read(out)?;
        if let Some((_, hasher)) = &mut self.stated {
            hasher.update(&out[..length]);
        }
        Ok(length)
    }
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
