//! Kernels packed into a bzImage, unpacked as a stream: at no time is the unpacked kernel in this process's
//! own memory, and no more of it is unpacked than is asked for.

use std::io::{self, BufReader, Read};

use liblzma::stream::Stream;
use messages::Bytes;

use crate::KernelFault;
use crate::source::{Source, SourceReader};

/// No kernel is larger than this when unpacked, in bytes.
pub(crate) const MAX_UNPACKED: u64 = 256 << 20;
/// Memory that the xz decoder may use, in bytes. Kernels are packed with dictionaries up to 128 MiB
/// (Linux, `scripts/xz_wrap.sh`).
const XZ_MEMORY: u64 = 256 << 20;
/// Largest zstd window, as a power of two: that of `zstd --ultra -22`, as Linux packs kernels.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Read from the file at a time, in bytes.
const READ_SIZE: usize = 64 << 10;
/// Unpacked at once, so that headers can be read in any order, in bytes.
const HEAD_SIZE: u64 = 64 << 10;

/// How a payload is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Xz,
    Lz4,
    Zstd,
}

/// First bytes of packed payloads (Linux, `lib/decompress.c`).
const MAGICS: &[(&[u8], Compression)] = &[
    (b"\x7fELF", Compression::None),
    (b"\x1f\x8b", Compression::Gzip),
    (b"\xfd7zXZ\0", Compression::Xz),
    (b"\x02\x21\x4c\x18", Compression::Lz4),
    (b"\x28\xb5\x2f\xfd", Compression::Zstd),
];

/// First bytes of payloads that are packed in ways which nobody uses now (Linux, `lib/decompress.c`).
const UNKNOWN: &[(&[u8], &str)] = &[(b"BZh", "bzip2"), (b"\x5d\0\0", "lzma"), (b"\x89LZO", "lzo")];

impl Compression {
    /// Whether a payload that begins with `head` can be unpacked (or need not be).
    pub fn is_known(head: &[u8]) -> bool {
        MAGICS.iter().any(|(magic, _)| head.starts_with(magic))
    }

    /// Recognizes a payload by its first bytes.
    pub fn of(head: &[u8]) -> Result<Compression, KernelFault> {
        if let Some((_, compression)) = MAGICS.iter().find(|(magic, _)| head.starts_with(magic)) {
            return Ok(*compression);
        }
        let name = UNKNOWN.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, name)| *name);
        Err(KernelFault::UnknownCompression(name.unwrap_or("an unknown method")))
    }

    fn name(self) -> &'static str {
        match self {
            Compression::None => "unpacked",
            Compression::Gzip => "gzip",
            Compression::Xz => "xz",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }

    fn decoder<'a>(self, reader: SourceReader<'a>) -> io::Result<Box<dyn Read + 'a>> {
        let reader = BufReader::with_capacity(READ_SIZE, reader);
        Ok(match self {
            Compression::None => Box::new(reader),
            Compression::Gzip => Box::new(flate2::bufread::GzDecoder::new(reader)),
            Compression::Xz => {
                let stream = Stream::new_stream_decoder(XZ_MEMORY, 0)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(reader, stream))
            }
            Compression::Lz4 => Box::new(Lz4Legacy::new(reader)?),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?.single_frame();
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Box::new(decoder)
            }
        })
    }
}

/// An unpacked image as it comes out of a decoder. Its first part can be read at will, the rest from front
/// to back only.
pub(crate) struct Unpacked<'a> {
    compression: Compression,
    decoder: Box<dyn Read + 'a>,
    head: Vec<u8>,
    position: u64,
}

impl<'a> Unpacked<'a> {
    /// Begins to unpack the bytes from `start` to `end` of `source`, which lie in it.
    pub fn new(source: &'a Source, start: u64, end: u64) -> Result<Unpacked<'a>, KernelFault> {
        let mut magic = [0; 8];
        let len = end.saturating_sub(start).min(magic.len() as u64) as usize;
        source.read_at(start, &mut magic[..len]).map_err(|_| KernelFault::Truncated("the packed kernel"))?;
        let compression = Compression::of(&magic[..len])?;
        let bad = |source| KernelFault::BadPayload { compression: compression.name(), answer: source };
        let mut decoder = compression.decoder(SourceReader::new(source, start, end)).map_err(bad)?;
        let mut head = Vec::new();
        decoder.by_ref().take(HEAD_SIZE).read_to_end(&mut head).map_err(bad)?;
        Ok(Unpacked { compression, decoder, position: head.len() as u64, head })
    }

    /// Fills `data` from `offset` on. Beyond the head, offsets must not go back.
    pub fn read_at(&mut self, offset: u64, data: &mut [u8]) -> Result<(), KernelFault> {
        let end = offset.checked_add(data.len() as u64).filter(|end| *end <= MAX_UNPACKED);
        if end.is_none() {
            return Err(KernelFault::TooLarge(Bytes(MAX_UNPACKED)));
        }
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.head.len());
        let in_head = (self.head.len() - from).min(data.len());
        data[..in_head].copy_from_slice(&self.head[from..from + in_head]);
        let rest = &mut data[in_head..];
        if rest.is_empty() {
            return Ok(());
        }
        let wanted = offset + in_head as u64;
        let skip = wanted.checked_sub(self.position).ok_or(KernelFault::Damaged("its parts overlap"))?;
        self.skip(skip)?;
        self.decoder.read_exact(rest).map_err(|source| self.bad(source))?;
        self.position += rest.len() as u64;
        Ok(())
    }

    /// The image's first bytes, at most `limit`, of those that are kept.
    pub fn head(&self, limit: usize) -> &[u8] {
        &self.head[..self.head.len().min(limit)]
    }

    /// Unpacks the rest, which checks the decoder's checksum where the format has one. Says how long the image
    /// is in all.
    pub fn finish(mut self) -> Result<u64, KernelFault> {
        let limit = MAX_UNPACKED.saturating_sub(self.position) + 1;
        let rest = io::copy(&mut self.decoder.by_ref().take(limit), &mut io::sink());
        match rest.map_err(|source| self.bad(source))? {
            bytes if bytes == limit => Err(KernelFault::TooLarge(Bytes(MAX_UNPACKED))),
            bytes => Ok(self.position + bytes),
        }
    }

    fn skip(&mut self, bytes: u64) -> Result<(), KernelFault> {
        let skipped = io::copy(&mut self.decoder.by_ref().take(bytes), &mut io::sink());
        let skipped = skipped.map_err(|source| self.bad(source))?;
        self.position += skipped;
        if skipped < bytes { Err(self.bad(io::ErrorKind::UnexpectedEof.into())) } else { Ok(()) }
    }

    fn bad(&self, source: io::Error) -> KernelFault {
        KernelFault::BadPayload { compression: self.compression.name(), answer: source }
    }
}

/// Unpacked size of an lz4 legacy block, in bytes (LZ4 Frame Format 1.6.2, "Legacy frame").
const LZ4_BLOCK: usize = 8 << 20;
/// Length of the frame's magic and of the size before each block, in bytes.
const LZ4_WORD: usize = 4;

/// Decoder of lz4's legacy frame, the only one that kernels use: a magic, then blocks with their packed size.
/// Linux's build appends the unpacked size, which is no block.
struct Lz4Legacy<R> {
    reader: R,
    packed: Vec<u8>,
    block: Vec<u8>,
    taken: usize,
}

impl<R: Read> Lz4Legacy<R> {
    fn new(mut reader: R) -> io::Result<Lz4Legacy<R>> {
        reader.read_exact(&mut [0; LZ4_WORD])?;
        Ok(Lz4Legacy { reader, packed: Vec::new(), block: Vec::new(), taken: 0 })
    }

    /// Unpacks the next block; leaves an empty one at the end.
    fn next_block(&mut self) -> io::Result<()> {
        self.taken = 0;
        self.block.clear();
        let mut size = [0; LZ4_WORD];
        let read = read_up_to(&mut self.reader, &mut size)?;
        if read == 0 {
            return Ok(());
        }
        let size = if read == LZ4_WORD { u32::from_le_bytes(size) as usize } else { usize::MAX };
        let limit = lz4_flex::block::get_maximum_output_size(LZ4_BLOCK);
        self.packed.clear();
        let got = self.reader.by_ref().take(size.min(limit) as u64).read_to_end(&mut self.packed)?;
        if got == 0 && read == LZ4_WORD {
            return Ok(());
        }
        if got < size {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a block has a bad size"));
        }
        self.block.resize(LZ4_BLOCK, 0);
        let len = lz4_flex::block::decompress_into(&self.packed, &mut self.block)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.block.truncate(len);
        Ok(())
    }
}

impl<R: Read> Read for Lz4Legacy<R> {
    fn read(&mut self, data: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.block.len() {
            self.next_block()?;
        }
        let len = data.len().min(self.block.len() - self.taken);
        data[..len].copy_from_slice(&self.block[self.taken..self.taken + len]);
        self.taken += len;
        Ok(len)
    }
}

fn read_up_to(reader: &mut impl Read, data: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < data.len() {
        match reader.read(&mut data[read..])? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}
