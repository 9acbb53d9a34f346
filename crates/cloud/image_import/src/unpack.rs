//! Decompressing a file into another one, with bounds on what comes out and on memory; zeros become holes.
//!
//! What is read is hostile. The functions take open files, so that a confined process can call them.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::rc::Rc;

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use host_sys::sparse::SparseWriter;
use image_model::Compression;
use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use crate::archived_file::{NoSuchFile, the_file};

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
    /// It is an archive of which no one file can be taken.
    #[error(transparent)]
    Archive(#[from] NoSuchFile),
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
    source: impl Read + Seek,
    compression: Compression,
    target: File,
    bytes_max: u64,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, UnpackError> {
    let read_bytes = Rc::new(Cell::new(0));
    let counted = Counted { inner: source, bytes: read_bytes.clone() };
    let mut buffered = BufReader::with_capacity(CHUNK_BYTES, counted);
    let mut told = || progress(read_bytes.get());
    if compression == Compression::Zip {
        let (mut archive, index) = the_file(buffered)?;
        let mut file = archive.by_index(index).map_err(|_| NoSuchFile::Unreadable)?;
        return write_all(&mut file, target, bytes_max, &mut told);
    }
    let mut decoder = decoder(&mut buffered, compression).map_err(UnpackError::Damaged)?;
    write_all(&mut *decoder, target, bytes_max, &mut told)
}

/// Writes all that `decoder` has, and returns how many bytes that was.
fn write_all(
    decoder: &mut dyn Read,
    target: File,
    bytes_max: u64,
    progress: &mut dyn FnMut(),
) -> Result<u64, UnpackError> {
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
        progress();
    }
    let bytes = writer.position();
    writer.finish(bytes).map_err(UnpackError::Write)?;
    Ok(bytes)
}

fn decoder<'a>(source: &'a mut dyn BufRead, compression: Compression) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        // An archive is read from its end, and never gets here.
        Compression::None | Compression::Zip => Box::new(source),
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
        Compression::Bzip2 => Box::new(MultiBzDecoder::new(source)),
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

impl<R: Seek> Seek for Counted<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;
    use std::os::unix::fs::MetadataExt;

    const MIB: usize = 1 << 20;
    const ALL: [Compression; 6] = [
        Compression::None,
        Compression::Gzip,
        Compression::Xz,
        Compression::Zstd,
        Compression::Bzip2,
        Compression::Zip,
    ];

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
            Compression::Bzip2 => {
                let mut encoder = bzip2::read::BzEncoder::new(bytes, bzip2::Compression::fast());
                encoder.read_to_end(&mut packed).unwrap();
            }
            Compression::Zip => packed = zipped(&[("disk.raw", bytes)]),
        }
        packed
    }

    fn unpacked(packed: &[u8], compression: Compression, bytes_max: u64) -> (Result<u64, UnpackError>, File) {
        let file = tempfile::tempfile().unwrap();
        let result =
            unpack(Cursor::new(packed), compression, file.try_clone().unwrap(), bytes_max, &mut |_| ());
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
            let bytes =
                unpack(Cursor::new(&packed), compression, target, u64::MAX, &mut |done| read = done).unwrap();
            assert_eq!(bytes as usize, sample().len());
            assert!(read as usize >= packed.len(), "{compression:?}");
            assert!(file.metadata().unwrap().blocks() * 512 < MIB as u64);
            let mut found = Vec::new();
            io::Seek::rewind(&mut &file).unwrap();
            (&file).read_to_end(&mut found).unwrap();
            assert!(found == sample(), "{compression:?}");
        }
    }

    #[test]
    fn several_streams_are_one_file() {
        for compression in ALL.into_iter().filter(|compression| *compression != Compression::Zip) {
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
            assert!(is_damage(&cut), "{compression:?} cut: {cut:?}");
            let other = unpacked(b"this is not compressed at all", *compression, u64::MAX).0;
            assert!(is_damage(&other), "{compression:?} text: {other:?}");
            if *compression == Compression::Zip {
                // What stands behind an archive is not in it; its own checksum is in its list of files.
                let list = packed.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
                let mut changed = packed.clone();
                changed[list + 16] ^= 1;
                let changed = unpacked(&changed, *compression, u64::MAX).0;
                assert!(is_damage(&changed), "{changed:?}");
                continue;
            }
            let mut behind = packed.clone();
            behind.extend_from_slice(b"rubbish");
            let behind = unpacked(&behind, *compression, u64::MAX).0;
            assert!(behind.is_err(), "{compression:?} with rubbish: {behind:?}");
        }
    }

    fn is_damage(result: &Result<u64, UnpackError>) -> bool {
        matches!(result, Err(UnpackError::Damaged(_) | UnpackError::Archive(_)))
    }

    fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in files {
            archive.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(bytes).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    #[test]
    fn of_an_archive_the_one_disk_is_taken() {
        let one: &[(&str, &[u8])] = &[("disk", b"one")];
        for files in [
            one,
            &[("a/b/disk.img", b"one")],
            &[("README", b"text"), ("vm/disk.vhd", b"one"), ("LICENSE.txt", b"")],
            &[("__MACOSX/._disk.vmdk", b"no"), ("disk.vmdk", b"one")],
            &[("../../etc/passwd", b"one")],
        ] {
            assert_eq!(unpacked(&zipped(files), Compression::Zip, 100).0.unwrap(), 3, "{files:?}");
        }
        for (files, words) in [
            (&[][..], "no file"),
            (&[("a.vmdk", &b"1"[..]), ("b.vmdk", b"2")], "several"),
            (&[("a", b"1"), ("b", b"2")], "several"),
        ] {
            let error = unpacked(&zipped(files), Compression::Zip, 100).0.unwrap_err().to_string();
            assert!(error.contains(words), "{files:?}: {error}");
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
