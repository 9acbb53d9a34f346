//! A set of pages by their numbers.

use std::fs::File;
use std::io;

use guest_memory::{DirtyPages, FileRange, GuestMemory, bits};
use host_sys::file_copy::next_data;
use host_sys::touched::touched_pages;

use super::{PAGE_BYTES, RamLayout};

/// A set of pages of RAM, a bit a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageSet(Vec<u64>);

impl PageSet {
    /// Pages of a machine's RAM that may hold something else than zeros: those that anybody has touched since it was
    /// allocated, and all that is in a file that is mapped there.
    ///
    /// # Errors
    /// The host does not tell.
    pub fn touched(memory: &GuestMemory) -> io::Result<PageSet> {
        let mut pages = PageSet::default();
        let mut before = 0;
        for slot in memory.slots().ram_slots() {
            let size_bytes = slot.range().size_bytes;
            for page in touched_pages(slot.host_address(), size_bytes)? {
                pages.insert(before + page);
            }
            if let Some(FileRange { file, offset_bytes }) = slot.file() {
                pages.insert_data(&file, offset_bytes, size_bytes, before)?;
            }
            before += size_bytes / PAGE_BYTES as u64;
        }
        Ok(pages)
    }

    /// Adds what a file has of `size_bytes` from `offset_bytes` on, where it begins to be page `first`.
    fn insert_data(&mut self, file: &File, offset_bytes: u64, size_bytes: u64, first: u64) -> io::Result<()> {
        let (page_bytes, end) = (PAGE_BYTES as u64, offset_bytes + size_bytes);
        let mut at = offset_bytes;
        while let Some((start, data_end)) = next_data(file, at, end)? {
            let pages = (start - offset_bytes) / page_bytes..(data_end - offset_bytes).div_ceil(page_bytes);
            pages.for_each(|page| self.insert(first + page));
            at = data_end;
        }
        Ok(())
    }

    /// Pages that were written, as a log has them.
    pub fn dirty(dirty: &DirtyPages, layout: &RamLayout) -> PageSet {
        let mut pages = PageSet::default();
        // A log counts in whole words, and may tell of pages behind the end of a range.
        dirty.iter().filter_map(|gpa| layout.page_at(gpa)).for_each(|page| pages.insert(page));
        pages
    }

    /// Adds a page.
    pub fn insert(&mut self, page: u64) {
        let word = (page / 64) as usize;
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (page % 64);
    }

    /// Adds all pages of another set.
    pub fn join(&mut self, other: &PageSet) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        self.0.iter_mut().zip(&other.0).for_each(|(to, from)| *to |= from);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// The pages, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0
            .iter()
            .enumerate()
            .flat_map(|(index, word)| bits(*word).map(move |bit| index as u64 * 64 + bit))
    }
}

impl FromIterator<u64> for PageSet {
    fn from_iter<I: IntoIterator<Item = u64>>(pages: I) -> PageSet {
        let mut set = PageSet::default();
        pages.into_iter().for_each(|page| set.insert(page));
        set
    }
}
