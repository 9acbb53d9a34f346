//! Reading RAM back: nothing is believed before its checksum was seen to.

use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::thread::{self, Builder, ScopedJoinHandle, available_parallelism};

use super::index::Piece;
use super::{PAGE_BYTES, PIECE_BYTES, PIECE_PAGES, PagesFile, RamError, RamIndex, RamSink, is_zero};

/// Most threads that read at once.
const THREADS_MAX: usize = 8;
/// Fewest pieces for which a thread is worth its start.
const SHARE_MIN: usize = 8;

/// RAM in a file, with its index.
pub struct RamReader<'i, F> {
    pub(super) file: F,
    pub(super) index: &'i RamIndex,
}

impl<'i, F: PagesFile + Sync> RamReader<'i, F> {
    /// A file of `file_bytes`.
    ///
    /// # Errors
    /// It is shorter or longer than the index has it.
    pub fn new(file: F, file_bytes: u64, index: &'i RamIndex) -> Result<RamReader<'i, F>, RamError> {
        let expected = index.file_bytes();
        if file_bytes != expected {
            return Err(RamError::Length { found: file_bytes, expected });
        }
        Ok(RamReader { file, index })
    }

    /// Fills RAM that is all zeros; with a difference, RAM that is what this builds upon.
    ///
    /// # Errors
    /// A page is damaged, or the host refuses.
    pub fn restore(&self, sink: &(impl RamSink + Sync)) -> Result<(), RamError> {
        self.each_piece_at_once(|piece, pages| {
            for (page, bytes) in piece.pages().zip(pages.chunks_exact(PAGE_BYTES)) {
                sink.write_page(self.gpa_of(page), bytes)?;
            }
            Ok(())
        })?;
        for page in self.index.zero_pages() {
            sink.write_page(self.gpa_of(page), &[0; PAGE_BYTES])?;
        }
        Ok(())
    }

    /// Looks at all of it: whether the pages are as they were written, and all else is zeros, as who maps the file relies
    /// upon.
    ///
    /// # Errors
    /// As [`restore`](RamReader::restore).
    pub fn verify(&self) -> Result<(), RamError> {
        self.each_piece_at_once(|_, _| Ok(()))?;
        if self.index.is_compressed { Ok(()) } else { self.check_holes() }
    }

    /// The file, to be mapped, where each of its pages is where it is in RAM. Whoever maps it has [verified](RamReader::verify) it.
    pub fn mappable(self) -> Result<F, RamReader<'i, F>> {
        if self.index.is_compressed { Err(self) } else { Ok(self.file) }
    }

    /// Files have blocks, which may be larger than pages: what is there besides the pages has to be zeros.
    fn check_holes(&self) -> Result<(), RamError> {
        let (page_bytes, end) = (PAGE_BYTES as u64, self.index.file_bytes());
        let mut at = 0;
        while let Some((start, data_end)) = self.file.next_data(at, end)? {
            let pages = start / page_bytes..data_end.div_ceil(page_bytes);
            for page in pages.filter(|page| !self.index.has(*page)) {
                let mut bytes = [0; PAGE_BYTES];
                self.file.read_at(&mut bytes, page * page_bytes)?;
                if !is_zero(&bytes) {
                    return Err(RamError::Damaged { gpa: self.gpa_of(page) });
                }
            }
            at = data_end;
        }
        Ok(())
    }

    /// Hands out the pages of each piece, which are as they were written, in order.
    pub(super) fn each_piece(
        &self,
        take: impl FnMut(&Piece, &[u8]) -> Result<(), RamError>,
    ) -> Result<(), RamError> {
        self.each_of(&self.index.pieces, 0, take)
    }

    /// The same by several threads, each of which has a part of RAM. Of several damaged pages the first is told of.
    fn each_piece_at_once(
        &self,
        take: impl Fn(&Piece, &[u8]) -> Result<(), RamError> + Sync,
    ) -> Result<(), RamError> {
        let threads = available_parallelism().map_or(1, NonZeroUsize::get).min(THREADS_MAX);
        let share = self.index.pieces.len().div_ceil(threads).max(SHARE_MIN);
        let mut frame_at = 0;
        let mut parts = self.index.pieces.chunks(share).map(|pieces| {
            let begin = frame_at;
            frame_at += pieces.iter().map(|piece| u64::from(piece.frame_bytes)).sum::<u64>();
            (pieces, begin)
        });
        let Some((first, begin)) = parts.next() else { return Ok(()) };
        let take = &take;
        thread::scope(|scope| {
            let others = parts.map(|(pieces, begin)| {
                Builder::new().spawn_scoped(scope, move || self.each_of(pieces, begin, take))
            });
            let others = others.collect::<Result<Vec<_>, _>>()?;
            let first = self.each_of(first, begin, take);
            let joined = |other: ScopedJoinHandle<'_, Result<(), RamError>>| {
                other.join().unwrap_or_else(|panic| resume_unwind(panic))
            };
            others.into_iter().map(joined).fold(first, Result::and)
        })
    }

    /// `frame_at` is where the frame of the first of these pieces is, if they are compressed.
    fn each_of(
        &self,
        pieces: &[Piece],
        mut frame_at: u64,
        mut take: impl FnMut(&Piece, &[u8]) -> Result<(), RamError>,
    ) -> Result<(), RamError> {
        let mut pages = Vec::with_capacity(PIECE_BYTES);
        for piece in pieces {
            read_piece(&self.file, self.index, piece, frame_at, &mut pages)?;
            frame_at += u64::from(piece.frame_bytes);
            take(piece, &pages)?;
        }
        Ok(())
    }

    fn gpa_of(&self, page: u64) -> u64 {
        gpa_of(self.index, page)
    }
}

/// Puts the pages of a piece in the place of what is in `pages`, after a look at their checksums. `frame_at` is where its
/// frame begins, if it has one.
pub(super) fn read_piece(
    file: &impl PagesFile,
    index: &RamIndex,
    piece: &Piece,
    frame_at: u64,
    pages: &mut Vec<u8>,
) -> Result<(), RamError> {
    pages.clear();
    if index.is_compressed {
        read_frame(file, index, piece, frame_at, pages)?;
    } else {
        read_plain(file, piece, pages)?;
    }
    let found = pages.chunks_exact(PAGE_BYTES).map(crc32c::crc32c);
    let mut wrong = piece.pages().zip(&piece.checksums).zip(found);
    match wrong.find(|((_, expected), found)| **expected != *found) {
        Some(((page, _), _)) => Err(RamError::Damaged { gpa: gpa_of(index, page) }),
        None => Ok(()),
    }
}

/// Runs of pages that follow one another are read at once.
fn read_plain(file: &impl PagesFile, piece: &Piece, pages: &mut Vec<u8>) -> Result<(), RamError> {
    let mut numbers = piece.pages().peekable();
    while let Some(first) = numbers.next() {
        let mut count = 1;
        while numbers.next_if_eq(&(first + count)).is_some() {
            count += 1;
        }
        let start = pages.len();
        pages.resize(start + count as usize * PAGE_BYTES, 0);
        file.read_at(&mut pages[start..], first * PAGE_BYTES as u64)?;
    }
    Ok(())
}

fn read_frame(
    file: &impl PagesFile,
    index: &RamIndex,
    piece: &Piece,
    at: u64,
    pages: &mut Vec<u8>,
) -> Result<(), RamError> {
    let mut frame = vec![0; piece.frame_bytes as usize];
    file.read_at(&mut frame, at)?;
    let expected = piece.checksums.len() * PAGE_BYTES;
    // No more than that is taken out of it, whatever the frame says of itself.
    pages.resize(expected, 0);
    match zstd::bulk::decompress_to_buffer(&frame, pages.as_mut_slice()) {
        Ok(found) if found == expected => Ok(()),
        _ => Err(RamError::Damaged { gpa: gpa_of(index, piece.number * PIECE_PAGES) }),
    }
}

/// A page of a sound index has an address.
fn gpa_of(index: &RamIndex, page: u64) -> u64 {
    index.layout.gpa_of(page).unwrap_or(u64::MAX)
}
