//! A snapshot in one file: a tar archive compressed with zstd, that says all of itself and that standard tools read.
//!
//! ```text
//! snapshot ─ export ─► snapshot.json, state, ram-index, ram, disks, kernel … ─► zstd ─► FILE
//! FILE ─ import ─► the record ─► `.new-…` ─► each file that it lists ─► all of it is looked at ─► its name
//! ```
//!
//! The record comes first: it says which files there are, and how long they are. Nothing outside of the archive is needed:
//! a disk that builds upon another file is written as one that builds upon nothing, and so is RAM.
//!
//! Every byte of an archive may be somebody's work. Nothing gets a name but by the record, no disk may name another file, and
//! a snapshot is there when all of it was seen to.
//!
//! May not depend on engines, devices or the machine.

mod disks;
mod entries;
mod error;
mod export;
mod import;
mod ram;
mod sparse;
#[cfg(test)]
mod tests;

use std::io;

use messages::Watch;

pub use error::ArchiveError;
pub use export::export;
pub use import::{import, import_tar};

/// Bytes that are moved at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Begins a step, unless nobody wants it any more.
fn step(watch: &mut dyn Watch, what: &str) -> Result<(), ArchiveError> {
    messages::step(watch, what).map_err(|_| ArchiveError::Cancelled)
}

/// How far an archive is.
struct Moved<'w> {
    watch: &'w mut dyn Watch,
    done_bytes: u64,
    all_bytes: u64,
}

impl Moved<'_> {
    /// Tells of `bytes` more. An error where nobody wants the archive any more.
    fn tell(&mut self, bytes: u64) -> io::Result<()> {
        self.done_bytes += bytes;
        self.watch.bytes(self.done_bytes, Some(self.all_bytes));
        if self.watch.is_cancelled() { Err(io::Error::other(error::Cancelled)) } else { Ok(()) }
    }
}
