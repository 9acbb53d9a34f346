//! RAM in a snapshot: a file with the pages that are not zero, and an index that tells which, with a checksum for each.
//!
//! ```text
//!            plain: each page where it is in RAM, so that the file can be mapped; all else is a hole
//! ram        ├ page 0 ┤  hole  ├ page 7 ┤├ page 8 ┤ …
//!            compressed: a frame of zstd for each piece of 1 MiB that has pages, one behind another
//! ram-index  magic, format, index (postcard), CRC-32C; of a difference also which pages have become zeros
//! ```
//!
//! The ranges of RAM lie in the file one behind another. Pages are counted that way, too.

mod compress;
mod index;
mod layers;
mod layout;
mod page_set;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use guest_memory::{Bytes, GuestAddress, GuestMemory};

pub use compress::compress;
pub use index::RamIndex;
pub use layers::{RamLayers, difference};
pub use layout::{RamLayout, RamRange};
pub use page_set::PageSet;
pub use read::RamReader;
pub use write::RamWriter;

/// A page, in bytes.
pub const PAGE_BYTES: usize = 4096;
/// Pages of a piece: what is compressed at once, and told of by one entry of the index.
const PIECE_PAGES: u64 = 256;
const PIECE_BYTES: usize = PIECE_PAGES as usize * PAGE_BYTES;

/// Why RAM cannot be read from a snapshot, or compressed.
#[derive(Debug, thiserror::Error)]
pub enum RamError {
    /// The index is something else.
    #[error("its index of RAM is none")]
    NotAnIndex,
    /// A newer program wrote it.
    #[error("its RAM is in format {0}, and this program reads format {format}; use a newer one", format = index::FORMAT_OF_DIFFERENCES)]
    Format(u32),
    /// The index is not what was written.
    #[error("its index of RAM is damaged")]
    DamagedIndex,
    /// The file was cut, or something was added.
    #[error("its RAM has {found} bytes and should have {expected}; it was not copied whole")]
    Length {
        /// Bytes of the file.
        found: u64,
        /// What the index tells of.
        expected: u64,
    },
    /// A page is not what was written.
    #[error("its RAM is damaged at guest address {gpa:#x}")]
    Damaged {
        /// First address of the page, or of the piece that cannot be decompressed.
        gpa: u64,
    },
    /// RAM of one machine, and what differs from that of another.
    #[error("its RAM and that of what it builds upon are not of one machine")]
    Unfit,
    /// Nobody wants it any more.
    #[error("it was cancelled")]
    Cancelled,
    /// The host refused.
    #[error("its RAM cannot be read")]
    Io(#[from] io::Error),
}

/// A file at places of which is read and written.
pub trait PagesFile {
    /// Reads all of `bytes` at `offset`.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Where, from `offset` on and before `end`, something else than a hole may be: its start, and what is behind it.
    fn next_data(&self, offset: u64, end: u64) -> io::Result<Option<(u64, u64)>>;
}

impl PagesFile for File {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn next_data(&self, offset: u64, end: u64) -> io::Result<Option<(u64, u64)>> {
        host_sys::file_copy::next_data(self, offset, end)
    }
}

impl<F: PagesFile> PagesFile for &F {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        (**self).write_at(bytes, offset)
    }

    fn next_data(&self, offset: u64, end: u64) -> io::Result<Option<(u64, u64)>> {
        (**self).next_data(offset, end)
    }
}

/// RAM that is saved.
pub trait RamSource {
    /// Reads the page at `gpa`. Whoever runs may be writing to it.
    fn read_page(&self, gpa: u64, page: &mut [u8]) -> io::Result<()>;
}

/// RAM that is restored: all zeros before.
pub trait RamSink {
    /// Fills the page at `gpa`.
    fn write_page(&self, gpa: u64, page: &[u8]) -> io::Result<()>;
}

impl RamSource for GuestMemory {
    fn read_page(&self, gpa: u64, page: &mut [u8]) -> io::Result<()> {
        self.slots().read_slice(page, GuestAddress(gpa)).map_err(io::Error::other)
    }
}

impl RamSink for GuestMemory {
    fn write_page(&self, gpa: u64, page: &[u8]) -> io::Result<()> {
        self.slots().write_slice(page, GuestAddress(gpa)).map_err(io::Error::other)
    }
}

fn is_zero(page: &[u8]) -> bool {
    static ZEROS: [u8; PAGE_BYTES] = [0; PAGE_BYTES];
    *page == ZEROS[..page.len()]
}
