//! Tables of foreign formats, read where they are needed: an image can claim tables longer than memory.

use disk::{FormatError, ImageFile, read_vec};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// What is read at once, in bytes.
const PAGE_BYTES: u64 = 64 << 10;
/// Pages that are kept.
const PAGES: usize = 4;

/// The last few pages of tables in a file.
pub(crate) struct TablePages {
    file: Arc<dyn ImageFile>,
    file_bytes: u64,
    pages: Mutex<VecDeque<(u64, Arc<Vec<u8>>)>>,
}

impl TablePages {
    pub(crate) fn new(file: Arc<dyn ImageFile>, file_bytes: u64) -> TablePages {
        TablePages { file, file_bytes, pages: Mutex::default() }
    }

    /// The `N` bytes at `offset_bytes`, a multiple of `N`.
    ///
    /// # Errors
    /// They are not all in the file.
    pub(crate) fn entry<const N: usize>(&self, offset_bytes: u64) -> io::Result<[u8; N]> {
        if offset_bytes.checked_add(N as u64).is_none_or(|end| end > self.file_bytes) {
            return Err(FormatError::damaged("a table lies behind the end of the file").into());
        }
        let page = self.page(offset_bytes / PAGE_BYTES)?;
        let within = (offset_bytes % PAGE_BYTES) as usize;
        let mut entry = [0; N];
        match page.get(within..within + N) {
            Some(bytes) => entry.copy_from_slice(bytes),
            None => return Err(FormatError::damaged("a table is at an odd place").into()),
        }
        Ok(entry)
    }

    fn page(&self, number: u64) -> io::Result<Arc<Vec<u8>>> {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, page)) = pages.iter().find(|(other, _)| *other == number) {
            return Ok(Arc::clone(page));
        }
        let page = Arc::new(read_vec(&*self.file, number * PAGE_BYTES, PAGE_BYTES as usize)?);
        pages.truncate(PAGES - 1);
        pages.push_front((number, Arc::clone(&page)));
        Ok(page)
    }
}
