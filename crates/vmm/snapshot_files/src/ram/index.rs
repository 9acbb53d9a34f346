//! The index of a snapshot's RAM: which pages the file has, where, and their checksums.

use serde::{Deserialize, Serialize};

use super::{PIECE_BYTES, PIECE_PAGES, RamError, RamLayout};
use guest_memory::bits;

/// What an index begins with. The last bytes do not survive a transfer as text.
const MAGIC: [u8; 8] = *b"YAGRAM\x1a\n";
/// The form that is written and read.
pub(super) const FORMAT: u32 = 1;
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
        let first = self.number * PIECE_PAGES;
        let words = self.pages.iter().enumerate();
        words.flat_map(move |(index, word)| bits(*word).map(move |bit| first + index as u64 * 64 + bit))
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
        let mut bytes = [&MAGIC[..], &FORMAT.to_le_bytes()].concat();
        bytes.extend(postcard::to_allocvec(self).map_err(|_| RamError::DamagedIndex)?);
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
        match number(&head[MAGIC.len()..]) {
            FORMAT => {}
            other => return Err(RamError::Format(other)),
        }
        let end = rest.len().checked_sub(CRC_BYTES).ok_or(RamError::DamagedIndex)?;
        let (body, checksum) = rest.split_at(end);
        if crc32c::crc32c(&bytes[..HEAD_BYTES + end]) != number(checksum) {
            return Err(RamError::DamagedIndex);
        }
        match postcard::take_from_bytes::<RamIndex>(body) {
            Ok((index, [])) if index.is_sound() => Ok(index),
            _ => Err(RamError::DamagedIndex),
        }
    }

    fn is_sound(&self) -> bool {
        let RamIndex { layout, pieces, is_compressed } = self;
        layout.is_sound()
            && pieces.is_sorted_by(|one, next| one.number < next.number)
            && pieces.iter().all(|piece| piece.is_sound(layout, *is_compressed))
    }
}
