//! What is compressed: zlib, LZO, zstd.

use std::io::Read;

use super::lzo;
use crate::FsError;
use crate::bytes::Bytes;

/// How an extent is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Zlib,
    Lzo,
    Zstd,
}

const BROKEN: FsError = FsError::Damaged("a compressed extent cannot be unpacked");
/// The length before an LZO stream, and before each of its segments.
const LZO_LEN: usize = 4;

impl Compression {
    pub(super) fn parse(value: u8) -> Result<Compression, FsError> {
        Ok(match value {
            0 => Compression::None,
            1 => Compression::Zlib,
            2 => Compression::Lzo,
            3 => Compression::Zstd,
            other => return Err(FsError::Unsupported(format!("compression number {other}"))),
        })
    }

    /// Unpacks up to `raw_len` bytes, for which the caller has set a limit.
    pub(super) fn unpack(
        self,
        packed: &[u8],
        raw_len: usize,
        sector_bytes: usize,
    ) -> Result<Vec<u8>, FsError> {
        let mut raw = Vec::new();
        match self {
            Compression::None => raw.extend_from_slice(&packed[..packed.len().min(raw_len)]),
            Compression::Zlib => {
                let decoder = flate2::read::ZlibDecoder::new(packed);
                decoder.take(raw_len as u64).read_to_end(&mut raw).map_err(|_| BROKEN)?;
            }
            Compression::Zstd => {
                // Behind the frame the sector is filled up with something else.
                let decoder = zstd::Decoder::with_buffer(packed).map_err(|_| BROKEN)?.single_frame();
                decoder.take(raw_len as u64).read_to_end(&mut raw).map_err(|_| BROKEN)?;
            }
            Compression::Lzo => unpack_lzo(Bytes(packed), raw_len, sector_bytes, &mut raw)?,
        }
        Ok(raw)
    }
}

/// The whole length, then segments, each with its own; a length never lies across the end of a sector.
fn unpack_lzo(
    packed: Bytes<'_>,
    raw_len: usize,
    sector_bytes: usize,
    raw: &mut Vec<u8>,
) -> Result<(), FsError> {
    let end = (packed.le32(0)? as usize).min(packed.0.len());
    let mut at = LZO_LEN;
    while at < end && raw.len() < raw_len {
        let left = sector_bytes - at % sector_bytes;
        if left < LZO_LEN {
            at += left;
        }
        let len = packed.le32(at)? as usize;
        let segment = packed.slice(at + LZO_LEN, len)?;
        let room = sector_bytes.min(raw_len - raw.len());
        lzo::unpack(segment, room, raw)?;
        at += LZO_LEN + len;
    }
    Ok(())
}
