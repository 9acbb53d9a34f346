//! The dirty log: which pages vCPUs have written since the last look.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use guest_memory::{DirtyPages, PAGE_SIZE, Slot, SlotId, Slots};

/// Bits of one VM's memory. A vCPU may write a page without setting its bit only if it set it since the last
/// [`take`](WriteLog::take).
pub struct WriteLog {
    on: Arc<AtomicBool>,
    regions: Vec<Arc<RegionLog>>,
}

struct RegionLog {
    slot: SlotId,
    first_gpa: u64,
    /// A bit a page.
    words: Vec<AtomicU64>,
}

impl WriteLog {
    /// A log that is off.
    pub fn new(slots: &Slots) -> WriteLog {
        WriteLog { on: Arc::default(), regions: slots.slots().iter().map(RegionLog::new).collect() }
    }

    /// The log when the slots are these; on or off as this one.
    pub fn followed_by(&self, slots: &Slots) -> WriteLog {
        let known = |slot: &Slot| self.regions.iter().find(|region| region.slot == slot.id()).map(Arc::clone);
        let region = |slot| known(slot).unwrap_or_else(|| RegionLog::new(slot));
        WriteLog { on: Arc::clone(&self.on), regions: slots.slots().iter().map(region).collect() }
    }

    /// Whether writes are recorded.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::SeqCst)
    }

    /// Turns recording on or off.
    pub fn set(&self, on: bool) {
        self.on.store(on, Ordering::SeqCst);
    }

    /// Records a write to the page at `gpa`.
    pub fn record(&self, gpa: u64) {
        let Some(region) = self.regions.iter().rev().find(|region| region.first_gpa <= gpa) else { return };
        let page = (gpa - region.first_gpa) / PAGE_SIZE;
        if let Some(word) = region.words.get((page / 64) as usize) {
            word.fetch_or(1 << (page % 64), Ordering::SeqCst);
        }
    }

    /// What was recorded; the log is then empty.
    pub fn take(&self) -> DirtyPages {
        let mut pages = DirtyPages::default();
        for region in &self.regions {
            let words = region.words.iter().map(|word| word.swap(0, Ordering::SeqCst));
            pages.push_region(region.first_gpa, words.collect());
        }
        pages
    }
}

impl RegionLog {
    fn new(slot: &Slot) -> Arc<RegionLog> {
        let range = slot.range();
        let words = (range.size_bytes / PAGE_SIZE).div_ceil(64);
        let words = (0..words).map(|_| AtomicU64::new(0)).collect();
        Arc::new(RegionLog { slot: slot.id(), first_gpa: range.start.0, words })
    }
}
