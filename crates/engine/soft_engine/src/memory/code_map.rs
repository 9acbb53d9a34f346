//! Which bytes of RAM have been decoded: a bit for each 64 bytes, shared by all vCPUs of a VM.
//!
//! A bit is set before the bytes are read for decoding. Whoever stores to bytes whose bit is set clears it and
//! tells every vCPU to drop what it decoded there. A bit that is set without need costs time, nothing else.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use guest_memory::{PAGE_SIZE, Slot, SlotId, Slots};

/// Bytes that one bit stands for.
const GRAIN: u64 = 64;
/// Pages that are allocated for at a time.
const CHUNK_PAGES: usize = 512;

type Chunk = Box<[AtomicU64]>;

/// The map of one VM.
pub struct CodeMap {
    regions: Vec<Arc<RegionMap>>,
}

struct RegionMap {
    slot: SlotId,
    first_gpa: u64,
    chunks: Vec<OnceLock<Chunk>>,
}

impl RegionMap {
    fn new(slot: &Slot) -> Arc<RegionMap> {
        let range = slot.range();
        let pages = (range.size_bytes / PAGE_SIZE) as usize;
        let chunks = (0..pages.div_ceil(CHUNK_PAGES)).map(|_| OnceLock::new()).collect();
        Arc::new(RegionMap { slot: slot.id(), first_gpa: range.start.0, chunks })
    }
}

/// Bits of the grains that `len` bytes at `gpa` touch, within their page.
pub fn grains_of(gpa: u64, len: usize) -> u64 {
    if len == 0 {
        return 0;
    }
    let first = (gpa % PAGE_SIZE) / GRAIN;
    let last = ((gpa % PAGE_SIZE) + len as u64 - 1).min(PAGE_SIZE - 1) / GRAIN;
    (u64::MAX >> (63 - last)) & (u64::MAX << first)
}

impl CodeMap {
    /// A map of `slots` in which nothing is code.
    pub fn new(slots: &Slots) -> CodeMap {
        CodeMap { regions: slots.slots().iter().map(RegionMap::new).collect() }
    }

    /// The map when the slots are these.
    pub fn followed_by(&self, slots: &Slots) -> CodeMap {
        let known = |slot: &Slot| self.regions.iter().find(|region| region.slot == slot.id()).map(Arc::clone);
        let region = |slot| known(slot).unwrap_or_else(|| RegionMap::new(slot));
        CodeMap { regions: slots.slots().iter().map(region).collect() }
    }

    /// Says that the grains `bits` of the page at `gpa` are about to be decoded. True if no byte of the page was.
    pub fn mark(&self, gpa: u64, bits: u64) -> bool {
        let Some((chunk, page)) = self.place(gpa) else { return false };
        let chunk = chunk.get_or_init(|| (0..CHUNK_PAGES).map(|_| AtomicU64::new(0)).collect());
        chunk[page].fetch_or(bits, Ordering::SeqCst) == 0
    }

    /// The grains of the page at `gpa` that were decoded.
    pub fn grains(&self, gpa: u64) -> u64 {
        self.word(gpa).map_or(0, |word| word.load(Ordering::SeqCst))
    }

    /// Says that the grains `bits` of the page at `gpa` were written. Answers those that had been decoded.
    pub fn take(&self, gpa: u64, bits: u64) -> u64 {
        match self.word(gpa) {
            Some(word) if word.load(Ordering::SeqCst) & bits != 0 => {
                word.fetch_and(!bits, Ordering::SeqCst) & bits
            }
            _ => 0,
        }
    }

    fn word(&self, gpa: u64) -> Option<&AtomicU64> {
        let (chunk, page) = self.place(gpa)?;
        chunk.get().map(|chunk| &chunk[page])
    }

    fn place(&self, gpa: u64) -> Option<(&OnceLock<Chunk>, usize)> {
        let region = self.regions.iter().rev().find(|region| region.first_gpa <= gpa)?;
        let page = ((gpa - region.first_gpa) / PAGE_SIZE) as usize;
        Some((region.chunks.get(page / CHUNK_PAGES)?, page % CHUNK_PAGES))
    }
}
