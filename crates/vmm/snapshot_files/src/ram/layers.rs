//! RAM that was kept in several snapshots, of which each has what differs from the one before.
//!
//! ```text
//! oldest  ├ a ┤├ b ┤  hole
//!              ├ B ┤├ c ┤
//! newest  zeros              ─►  zeros, B, c
//! ```

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use messages::Progress;

use super::index::{Piece, ZeroPages};
use super::read::{RamReader, read_piece};
use super::{PAGE_BYTES, PIECE_BYTES, PIECE_PAGES, PagesFile, RamError, RamIndex, RamLayout, is_zero};

/// One of them.
struct Layer<F> {
    file: F,
    index: RamIndex,
    /// Where each piece's frame begins, if there are frames.
    frames: Vec<u64>,
}

/// RAM in files that build upon one another, the oldest first.
pub struct RamLayers<F> {
    layers: Vec<Layer<F>>,
}

impl<F: PagesFile> RamLayers<F> {
    /// Files with their lengths and indexes, the oldest first.
    ///
    /// # Errors
    /// They do not go together, or one is not as long as its index has it.
    pub fn new(files: Vec<(F, u64, RamIndex)>) -> Result<RamLayers<F>, RamError> {
        let mut layers: Vec<Layer<F>> = Vec::new();
        for (file, found, index) in files {
            let expected = index.file_bytes();
            if found != expected {
                return Err(RamError::Length { found, expected });
            }
            let fits = match layers.first() {
                None => !index.is_difference(),
                Some(first) => index.is_difference() && index.layout == first.index.layout,
            };
            if !fits {
                return Err(RamError::Unfit);
            }
            let frames = index.pieces.iter().scan(0, |at, piece| {
                let start = *at;
                *at += u64::from(piece.frame_bytes);
                Some(start)
            });
            let frames = frames.collect();
            layers.push(Layer { file, index, frames });
        }
        if layers.is_empty() { Err(RamError::Unfit) } else { Ok(RamLayers { layers }) }
    }

    /// The machine's RAM.
    pub fn layout(&self) -> &RamLayout {
        &self.layers[0].index.layout
    }

    /// Each by itself, the oldest first.
    pub fn readers(&self) -> impl Iterator<Item = RamReader<'_, &F>> {
        self.layers.iter().map(|layer| RamReader { file: &layer.file, index: &layer.index })
    }

    /// Pieces of which any of them says something.
    fn pieces(&self) -> BTreeSet<u64> {
        let said = |layer: &Layer<F>| layer.index.pieces_said().collect::<Vec<_>>();
        self.layers.iter().flat_map(said).collect()
    }

    /// What all of them come to in one piece.
    fn read(&self, number: u64, bytes: &mut [u8], pages: &mut Vec<u8>) -> Result<(), RamError> {
        bytes.fill(0);
        self.layers.iter().try_for_each(|layer| layer.read(number, bytes, pages))
    }

    /// Writes what they come to to `to`, which is as long as the RAM, and all holes; the index of that, which builds upon
    /// nothing. `progress` is told the bytes done and the bytes in all.
    ///
    /// # Errors
    /// A page is damaged, the host refuses, or nobody wants it any more.
    pub fn flatten(&self, to: &impl PagesFile, progress: Progress<'_>) -> Result<RamIndex, RamError> {
        let (mut bytes, mut pages) = (vec![0; PIECE_BYTES], Vec::with_capacity(PIECE_BYTES));
        let mut flat = Vec::new();
        let numbers = self.pieces();
        let all = (numbers.len() * PIECE_BYTES) as u64;
        for (done, number) in numbers.into_iter().enumerate() {
            self.read(number, &mut bytes, &mut pages)?;
            let mut piece = Piece::new(number);
            for (within, page) in bytes.chunks_exact(PAGE_BYTES).enumerate() {
                if !is_zero(page) {
                    piece.push(within, page);
                }
            }
            piece.write(&bytes, to)?;
            flat.extend((!piece.checksums.is_empty()).then_some(piece));
            if progress(((done + 1) * PIECE_BYTES) as u64, all) == ControlFlow::Break(()) {
                return Err(RamError::Cancelled);
            }
        }
        Ok(RamIndex { layout: self.layout().clone(), pieces: flat, is_compressed: false, zeros: None })
    }
}

impl<F: PagesFile> Layer<F> {
    /// Lays what it has of a piece over what those before had.
    fn read(&self, number: u64, bytes: &mut [u8], pages: &mut Vec<u8>) -> Result<(), RamError> {
        let within = |page: u64| (page % PIECE_PAGES) as usize * PAGE_BYTES;
        if let Ok(found) = self.index.pieces.binary_search_by_key(&number, |piece| piece.number) {
            let piece = &self.index.pieces[found];
            read_piece(&self.file, &self.index, piece, self.frames[found], pages)?;
            for (page, data) in piece.pages().zip(pages.chunks_exact(PAGE_BYTES)) {
                bytes[within(page)..][..PAGE_BYTES].copy_from_slice(data);
            }
        }
        for page in self.index.zeros_in(number) {
            bytes[within(page)..][..PAGE_BYTES].fill(0);
        }
        Ok(())
    }
}

/// Writes to `to`, which is as long as the RAM, and all holes, what of `from` differs from what `base` comes to; the index of
/// that. `index` is the one of `from`, which builds upon nothing.
///
/// # Errors
/// They are of machines with other RAM, a page is damaged, or the host refuses.
pub fn difference<F: PagesFile>(
    index: &RamIndex,
    from: impl PagesFile,
    base: &RamLayers<F>,
    to: &impl PagesFile,
) -> Result<RamIndex, RamError> {
    let file_bytes = index.file_bytes();
    let now = RamLayers::new(vec![(from, file_bytes, index.clone())])?;
    if now.layout() != base.layout() {
        return Err(RamError::Unfit);
    }
    let (mut new, mut old, mut pages) =
        (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES], Vec::with_capacity(PIECE_BYTES));
    let (mut pieces, mut zeros) = (Vec::new(), Vec::new());
    for number in now.pieces().union(&base.pieces()).copied() {
        now.read(number, &mut new, &mut pages)?;
        base.read(number, &mut old, &mut pages)?;
        let (mut piece, mut gone) = (Piece::new(number), ZeroPages::new(number));
        for (within, (new, old)) in new.chunks_exact(PAGE_BYTES).zip(old.chunks_exact(PAGE_BYTES)).enumerate()
        {
            match (new == old, is_zero(new)) {
                (true, _) => {}
                (false, true) => gone.insert(within),
                (false, false) => piece.push(within, new),
            }
        }
        piece.write(&new, to)?;
        pieces.extend((!piece.checksums.is_empty()).then_some(piece));
        zeros.extend((!gone.is_empty()).then_some(gone));
    }
    Ok(RamIndex { layout: index.layout.clone(), pieces, is_compressed: false, zeros: Some(zeros) })
}
