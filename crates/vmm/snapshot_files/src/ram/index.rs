//! The index of a snapshot's RAM: which pages the file has, where, and their checksums.

use std::io;

use serde::{Deserialize, Serialize};

use super::{PAGE_BYTES, PIECE_BYTES, PIECE_PAGES, PagesFile, RamError, RamLayout};
use guest_memory::bits;

/// What an index begins with. The last bytes do not survive a transfer as text.
const MAGIC: [u8; 8] = *b"YAGRAM\x1a\n";
/// The form of RAM that is whole by itself.
const FORMAT: u32 = 1;
/// The form of a difference: the same, and [`ZeroPages`] behind it.
pub(super) const FORMAT_OF_DIFFERENCES: u32 = 2;
const HEAD_BYTES: usize = 12;
const CRC_BYTES: usize = 4;
/// What zstd makes of a piece that cannot be compressed, at most (`ZSTD_COMPRESSBOUND`), with room to spare.
const FRAME_BYTES_MAX: u32 = (PIECE_BYTES + PIECE_BYTES / 128) as u32;

/// Which pages of RAM a file has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RamIndex {
    /// The machine's RAM.
    pub(super) layout: RamLayout,
    /// Pieces with pages, ascending.
    pub(super) pieces: Vec<Piece>,
    /// Whether pieces are frames of zstd.
    pub(super) is_compressed: bool,
    /// Of what differs from other RAM: pages that have become zeros, ascending. Nothing where it is whole by itself.
    #[serde(skip)]
    pub(super) zeros: Option<Vec<ZeroPages>>,
}

/// Pages of a piece that are zeros now, and were not before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ZeroPages {
    /// Which piece of RAM.
    number: u64,
    /// A bit for each of them.
    pages: [u64; PIECE_PAGES as usize / 64],
}

impl ZeroPages {
    pub(super) fn new(number: u64) -> ZeroPages {
        ZeroPages { number, pages: Default::default() }
    }

    /// Adds a page by its number within the piece.
    pub(super) fn insert(&mut self, within: usize) {
        self.pages[within / 64] |= 1 << (within % 64);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pages.iter().all(|word| *word == 0)
    }

    /// Numbers of the pages.
    fn pages(&self) -> impl Iterator<Item = u64> + '_ {
        pages_of(self.number, &self.pages)
    }
}

/// Numbers of pages, by bits within a piece.
fn pages_of(number: u64, words: &[u64]) -> impl Iterator<Item = u64> + '_ {
    let first = number * PIECE_PAGES;
    let words = words.iter().enumerate();
    words.flat_map(move |(index, word)| bits(*word).map(move |bit| first + index as u64 * 64 + bit))
}

/// A piece of RAM of which the file has pages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Piece {
    /// Which piece of RAM.
    pub(super) number: u64,
    /// A bit for each of its pages that the file has.
    pub(super) pages: [u64; PIECE_PAGES as usize / 64],
    /// CRC-32C of each of those.
    pub(super) checksums: Vec<u32>,
    /// Length of its frame in bytes; 0 where it is not compressed.
    pub(super) frame_bytes: u32,
}

impl Piece {
    /// Numbers of the pages that the file has.
    pub(super) fn pages(&self) -> impl Iterator<Item = u64> + '_ {
        pages_of(self.number, &self.pages)
    }

    pub(super) fn new(number: u64) -> Piece {
        Piece { number, pages: Default::default(), checksums: Vec::new(), frame_bytes: 0 }
    }

    /// Adds a page by its number within the piece, behind those that it has.
    pub(super) fn push(&mut self, within: usize, page: &[u8]) {
        self.pages[within / 64] |= 1 << (within % 64);
        self.checksums.push(crc32c::crc32c(page));
    }

    /// Writes its pages to a plain file. `bytes` is all of the piece.
    pub(super) fn write(&self, bytes: &[u8], to: &impl PagesFile) -> io::Result<()> {
        let first = self.number * PIECE_PAGES;
        for page in self.pages() {
            let within = (page - first) as usize * PAGE_BYTES;
            to.write_at(&bytes[within..within + PAGE_BYTES], page * PAGE_BYTES as u64)?;
        }
        Ok(())
    }

    fn is_sound(&self, layout: &RamLayout, is_compressed: bool) -> bool {
        let count: u32 = self.pages.iter().map(|word| word.count_ones()).sum();
        let pieces = layout.pages().div_ceil(PIECE_PAGES);
        self.number < pieces
            && count > 0
            && count as usize == self.checksums.len()
            && self.pages().last().is_some_and(|last| last < layout.pages())
            && (1..=FRAME_BYTES_MAX).contains(&self.frame_bytes) == is_compressed
            && (is_compressed || self.frame_bytes == 0)
    }
}

impl RamIndex {
    /// The machine's RAM.
    pub fn layout(&self) -> &RamLayout {
        &self.layout
    }

    /// Bytes of RAM that the file has, before they are compressed.
    pub fn data_bytes(&self) -> u64 {
        let pages: usize = self.pieces.iter().map(|piece| piece.checksums.len()).sum();
        (pages * super::PAGE_BYTES) as u64
    }

    /// Whether it is what differs from other RAM.
    pub fn is_difference(&self) -> bool {
        self.zeros.is_some()
    }

    /// Pages that have become zeros, ascending.
    pub(super) fn zero_pages(&self) -> impl Iterator<Item = u64> + '_ {
        self.zeros.iter().flatten().flat_map(ZeroPages::pages)
    }

    /// Pages of a piece that have become zeros.
    pub(super) fn zeros_in(&self, number: u64) -> impl Iterator<Item = u64> + '_ {
        let zeros = self.zeros.as_deref().unwrap_or_default();
        let found = zeros.binary_search_by_key(&number, |zeros| zeros.number).ok();
        found.into_iter().flat_map(|found| zeros[found].pages())
    }

    /// Pieces of which it says something.
    pub(super) fn pieces_said(&self) -> impl Iterator<Item = u64> + '_ {
        let zeros = self.zeros.iter().flatten().map(|zeros| zeros.number);
        self.pieces.iter().map(|piece| piece.number).chain(zeros)
    }

    /// Bytes of RAM that have become zeros.
    pub fn zero_bytes(&self) -> u64 {
        self.zero_pages().count() as u64 * PAGE_BYTES as u64
    }

    /// Whether the file has this page.
    pub(super) fn has(&self, page: u64) -> bool {
        let number = page / PIECE_PAGES;
        let within = page % PIECE_PAGES;
        self.pieces
            .binary_search_by_key(&number, |piece| piece.number)
            .is_ok_and(|found| self.pieces[found].pages[(within / 64) as usize] >> (within % 64) & 1 == 1)
    }

    /// Length of the file.
    pub fn file_bytes(&self) -> u64 {
        if self.is_compressed {
            self.pieces.iter().map(|piece| u64::from(piece.frame_bytes)).sum()
        } else {
            self.layout.size_bytes()
        }
    }

    /// The index as bytes.
    ///
    /// # Errors
    /// It cannot be written: a mistake in its types.
    pub fn to_bytes(&self) -> Result<Vec<u8>, RamError> {
        let format = if self.is_difference() { FORMAT_OF_DIFFERENCES } else { FORMAT };
        let mut bytes = [&MAGIC[..], &format.to_le_bytes()].concat();
        bytes.extend(postcard::to_allocvec(self).map_err(|_| RamError::DamagedIndex)?);
        if let Some(zeros) = &self.zeros {
            bytes.extend(postcard::to_allocvec(zeros).map_err(|_| RamError::DamagedIndex)?);
        }
        bytes.extend(crc32c::crc32c(&bytes).to_le_bytes());
        Ok(bytes)
    }

    /// Reads what [`to_bytes`](RamIndex::to_bytes) wrote, perhaps changed by somebody since, and checks it.
    ///
    /// # Errors
    /// It is no index, damaged, or a newer program's.
    pub fn from_bytes(bytes: &[u8]) -> Result<RamIndex, RamError> {
        let (head, rest) = bytes.split_at_checked(HEAD_BYTES).ok_or(RamError::NotAnIndex)?;
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
        if head[..MAGIC.len()] != MAGIC {
            return Err(RamError::NotAnIndex);
        }
        let is_difference = match number(&head[MAGIC.len()..]) {
            FORMAT => false,
            FORMAT_OF_DIFFERENCES => true,
            other => return Err(RamError::Format(other)),
        };
        let end = rest.len().checked_sub(CRC_BYTES).ok_or(RamError::DamagedIndex)?;
        let (body, checksum) = rest.split_at(end);
        if crc32c::crc32c(&bytes[..HEAD_BYTES + end]) != number(checksum) {
            return Err(RamError::DamagedIndex);
        }
        match read_body(body, is_difference) {
            Ok((index, [])) if index.is_sound() => Ok(index),
            _ => Err(RamError::DamagedIndex),
        }
    }

    fn is_sound(&self) -> bool {
        let RamIndex { layout, pieces, is_compressed, zeros } = self;
        let zeros = zeros.as_deref().unwrap_or_default();
        layout.is_sound()
            && pieces.is_sorted_by(|one, next| one.number < next.number)
            && pieces.iter().all(|piece| piece.is_sound(layout, *is_compressed))
            && zeros.is_sorted_by(|one, next| one.number < next.number)
            && zeros.iter().all(|zeros| self.are_sound(zeros))
    }

    /// Pages of the machine's RAM, which the file has not.
    fn are_sound(&self, zeros: &ZeroPages) -> bool {
        let pieces = self.layout.pages().div_ceil(PIECE_PAGES);
        zeros.number < pieces
            && zeros.pages().last().is_some_and(|last| last < self.layout.pages())
            && zeros.pages().all(|page| !self.has(page))
    }
}

fn read_body(bytes: &[u8], is_difference: bool) -> postcard::Result<(RamIndex, &[u8])> {
    let (index, rest) = postcard::take_from_bytes::<RamIndex>(bytes)?;
    if !is_difference {
        return Ok((index, rest));
    }
    let (zeros, rest) = postcard::take_from_bytes(rest)?;
    Ok((RamIndex { zeros: Some(zeros), ..index }, rest))
}
