//! Page faults.

use std::io;

use crate::measure::Work;
use crate::pages::Pages;

const PAGE_BYTES: usize = 4096;
const PAGE_COUNT: usize = 256;

/// Maps 1 MiB, touches each page, unmaps it.
pub fn page_fault() -> io::Result<Work> {
    Work::system(PAGE_COUNT as u64, || {
        let mut pages = Pages::new(PAGE_COUNT * PAGE_BYTES)?;
        let words = pages.words();
        for (number, page) in words.chunks_exact_mut(PAGE_BYTES / 8).enumerate() {
            page[number] += number as u64;
        }
        Ok(words.chunks_exact(PAGE_BYTES / 8).enumerate().map(|(number, page)| page[number]).sum())
    })
}
