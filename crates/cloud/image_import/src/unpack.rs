//! Decompressing a file into another one, with bounds on what comes out and on memory; zeros become holes.
//!
//! What is read is hostile. The functions take open files, so that a confined process can call them.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use image_store::SparseWriter;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use crate::compression::Compression;

const CHUNK_BYTES: usize = 1 << 20;
/// Memory that decoding xz may take; what `xz -9` makes takes 65 MiB.
const XZ_MEMORY_BYTES_MAX: u64 = 256 << 20;
/// The binary logarithm of the largest window of Zstandard that is taken, as the `zstd` command does.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// Why a file could not be decompressed.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// More came out than may.
    #[error("it unpacks to more than {}, which is more than is let through", messages::Bytes(*.0))]
    TooLarge(u64),
    /// What is read is damaged, ends early, or needs too much memory.
    #[error("it is damaged, cut short, or not compressed as was stated; get it again, or give --format")]
    Damaged(io::Error),
    /// There is no room, or something else is wrong with this host.
    #[error("what is in it cannot be written")]
    Write(#[source] io::Error),
}

/// Decompresses all of `source` into `target`, which is empty, and returns the bytes that came out.
/// `progress` is told the bytes read of `source`.
///
/// # Errors
/// The source is damaged or holds more than `bytes_max`, or the target cannot be written. What is in the
/// target then is worth nothing.
pub fn unpack(
    source: impl Read,
    compression: Compression,
    target: File,
    bytes_max: u64,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, UnpackError> {
    let read_bytes = Rc::new(Cell::new(0));
    let counted = Counted { inner: source, bytes: read_bytes.clone() };
    let mut buffered = BufReader::with_capacity(CHUNK_BYTES, counted);
    let mut decoder = decoder(&mut buffered, compression).map_err(UnpackError::Damaged)?;
    let mut writer = SparseWriter::new(target);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let bytes = match decoder.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(UnpackError::Damaged)?,
        };
        if bytes == 0 {
            break;
        }
        if writer.position() + bytes as u64 > bytes_max {
            return Err(UnpackError::TooLarge(bytes_max));
        }
        writer.write_all(&chunk[..bytes]).map_err(UnpackError::Write)?;
        progress(read_bytes.get());
    }
    let bytes = writer.position();
    writer.finish(bytes).map_err(UnpackError::Write)?;
    Ok(bytes)
}

fn decoder<'a>(source: &'a mut dyn BufRead, compression: Compression) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(source),
        Compression::Gzip => Box::new(MultiGzDecoder::new(source)),
        Compression::Xz => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY_BYTES_MAX, CONCATENATED)?;
            Box::new(XzDecoder::new_stream(source, stream))
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            Box::new(decoder)
        }
    })
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    bytes: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(buffer)?;
        self.bytes.set(self.bytes.get() + bytes as u64);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    const MIB: usize = 1 << 20;
    const ALL: [Compression; 4] = [Compression::None, Compression::Gzip, Compression::Xz, Compression::Zstd];

    fn pack(bytes: &[u8], compression: Compression) -> Vec<u8> {
        let mut packed = Vec::new();
        match compression {
            Compression::None => packed.extend_from_slice(bytes),
            Compression::Gzip => {
                let mut encoder = flate2::read::GzEncoder::new(bytes, flate2::Compression::fast());
                encoder.read_to_end(&mut packed).unwrap();
            }
            Compression::Xz => {
                liblzma::read::XzEncoder::new(bytes, 1).read_to_end(&mut packed).unwrap();
            }
            Compression::Zstd => packed = zstd::stream::encode_all(bytes, 1).unwrap(),
        }
        packed
    }

    fn unpacked(packed: &[u8], compression: Compression, bytes_max: u64) -> (Result<u64, UnpackError>, File) {
        let file = tempfile::tempfile().unwrap();
        let result = unpack(packed, compression, file.try_clone().unwrap(), bytes_max, &mut |_| ());
        (result, file)
    }

    fn sample() -> Vec<u8> {
        let mut bytes = vec![0; 8 * MIB + 17];
        for at in [0, 5 * MIB, 8 * MIB + 16] {
            bytes[at] = 1;
        }
        bytes
    }

    #[test]
    fn files_come_out_whole_and_sparse() {
        for compression in ALL {
            let packed = pack(&sample(), compression);
            let mut read = 0;
            let file = tempfile::tempfile().unwrap();
            let target = file.try_clone().unwrap();
            let bytes = unpack(&packed[..], compression, target, u64::MAX, &mut |done| read = done).unwrap();
            assert_eq!(bytes as usize, sample().len());
            assert_eq!(read as usize, packed.len(), "{compression:?}");
            assert!(file.metadata().unwrap().blocks() * 512 < MIB as u64);
            let mut found = Vec::new();
            io::Seek::rewind(&mut &file).unwrap();
            (&file).read_to_end(&mut found).unwrap();
            assert!(found == sample(), "{compression:?}");
        }
    }

    #[test]
    fn several_streams_are_one_file() {
        for compression in ALL {
            let mut packed = pack(b"one", compression);
            packed.extend(pack(b"two", compression));
            assert_eq!(unpacked(&packed, compression, 100).0.unwrap(), 6, "{compression:?}");
        }
    }

    #[test]
    fn bombs_are_stopped() {
        for compression in ALL {
            let packed = pack(&vec![0; 16 * MIB], compression);
            let (result, file) = unpacked(&packed, compression, 3 * MIB as u64);
            assert!(matches!(result, Err(UnpackError::TooLarge(_))), "{compression:?}");
            assert!(file.metadata().unwrap().blocks() == 0);
        }
    }

    #[test]
    fn damage_is_seen() {
        for compression in &ALL[1..] {
            let packed = pack(&sample(), *compression);
            let cut = unpacked(&packed[..packed.len() - 5], *compression, u64::MAX).0;
            assert!(matches!(cut, Err(UnpackError::Damaged(_))), "{compression:?} cut: {cut:?}");
            let other = unpacked(b"this is not compressed at all", *compression, u64::MAX).0;
            assert!(matches!(other, Err(UnpackError::Damaged(_))), "{compression:?} text: {other:?}");
            let mut behind = packed.clone();
            behind.extend_from_slice(b"rubbish");
            let behind = unpacked(&behind, *compression, u64::MAX).0;
            assert!(behind.is_err(), "{compression:?} with rubbish: {behind:?}");
        }
    }

    #[test]
    fn xz_and_zstd_that_want_much_memory_are_refused() {
        // An encoder with a dictionary of 512 MiB; the decoder has to provide as much.
        let mut options = liblzma::stream::LzmaOptions::new_preset(0).unwrap();
        options.dict_size(512 << 20);
        let mut filters = liblzma::stream::Filters::new();
        filters.lzma2(&options);
        let stream = Stream::new_stream_encoder(&filters, liblzma::stream::Check::Crc32).unwrap();
        let mut packed = Vec::new();
        liblzma::read::XzEncoder::new_stream(&b"small"[..], stream).read_to_end(&mut packed).unwrap();
        assert!(matches!(unpacked(&packed, Compression::Xz, 100).0, Err(UnpackError::Damaged(_))));
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(30).unwrap();
        encoder.write_all(b"small").unwrap();
        assert!(matches!(
            unpacked(&encoder.finish().unwrap(), Compression::Zstd, 100).0,
            Err(UnpackError::Damaged(_))
        ));
    }
}
