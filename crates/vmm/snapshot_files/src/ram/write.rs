//! Writing RAM, in as many rounds as it takes: a page that is written again replaces what was there.

use std::collections::BTreeMap;
use std::io;

use super::index::Piece;
use super::{
    PAGE_BYTES, PIECE_BYTES, PIECE_PAGES, PageSet, PagesFile, RamIndex, RamLayout, RamSource, is_zero,
};

/// Most bytes that are written at once.
const RUN_BYTES_MAX: usize = PIECE_BYTES;

/// RAM on its way into a file, which has holes wherever nothing is written.
pub struct RamWriter<F> {
    file: F,
    layout: RamLayout,
    /// Checksums of the pages that the file has.
    checksums: BTreeMap<u64, u32>,
}

/// Pages that follow one another, to be written at once.
#[derive(Default)]
struct Run {
    first: u64,
    bytes: Vec<u8>,
}

impl<F: PagesFile> RamWriter<F> {
    /// Begins with a file that is as long as the RAM, and all holes.
    pub fn new(file: F, layout: RamLayout) -> RamWriter<F> {
        RamWriter { file, layout, checksums: BTreeMap::new() }
    }

    /// Writes `pages` as they are now. Those of zeros stay holes, unless they had something before.
    ///
    /// # Errors
    /// The host refuses: room, most often.
    pub fn write(&mut self, source: &impl RamSource, pages: &PageSet) -> io::Result<()> {
        let mut run = Run::default();
        let mut bytes = [0; PAGE_BYTES];
        for page in pages.iter() {
            let gpa = self.layout.gpa_of(page).ok_or(io::ErrorKind::InvalidInput)?;
            source.read_page(gpa, &mut bytes)?;
            if is_zero(&bytes) && !self.checksums.contains_key(&page) {
                continue;
            }
            self.checksums.insert(page, crc32c::crc32c(&bytes));
            if page != run.next() || run.bytes.len() >= RUN_BYTES_MAX {
                self.put(&mut run)?;
                run.first = page;
            }
            run.bytes.extend_from_slice(&bytes);
        }
        self.put(&mut run)
    }

    fn put(&self, run: &mut Run) -> io::Result<()> {
        if !run.bytes.is_empty() {
            self.file.write_at(&run.bytes, run.first * PAGE_BYTES as u64)?;
            run.bytes.clear();
        }
        Ok(())
    }

    /// The file, and the index of what is in it.
    pub fn finish(self) -> (F, RamIndex) {
        let mut pieces: Vec<Piece> = Vec::new();
        for (page, checksum) in self.checksums {
            let number = page / PIECE_PAGES;
            if pieces.last().is_none_or(|piece| piece.number != number) {
                pieces.push(Piece::new(number));
            }
            if let Some(piece) = pieces.last_mut() {
                let within = page % PIECE_PAGES;
                piece.pages[(within / 64) as usize] |= 1 << (within % 64);
                piece.checksums.push(checksum);
            }
        }
        (self.file, RamIndex { layout: self.layout, pieces, is_compressed: false, zeros: None })
    }
}

impl Run {
    /// The page that goes on with it.
    fn next(&self) -> u64 {
        self.first + (self.bytes.len() / PAGE_BYTES) as u64
    }
}
