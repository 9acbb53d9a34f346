//! The dirty log: which pages vCPUs have written since the last look.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use guest_memory::{DirtyPages, GuestMemory, PAGE_SIZE};

/// Bits of one VM's RAM. A vCPU may write a page without setting its bit only if it set it since the last
/// [`take`](WriteLog::take).
pub struct WriteLog {
    on: AtomicBool,
    regions: Vec<(u64, Vec<AtomicU64>)>,
}

impl WriteLog {
    /// A log that is off.
    pub fn new(memory: &GuestMemory) -> WriteLog {
        let words = |region: guest_memory::Region| {
            let words = (region.range.size_bytes / PAGE_SIZE).div_ceil(64);
            (region.range.start.0, (0..words).map(|_| AtomicU64::new(0)).collect())
        };
        WriteLog { on: AtomicBool::new(false), regions: memory.regions().map(words).collect() }
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
        let Some((first, words)) = self.regions.iter().rev().find(|(first, _)| *first <= gpa) else { return };
        let page = (gpa - first) / PAGE_SIZE;
        if let Some(word) = words.get((page / 64) as usize) {
            word.fetch_or(1 << (page % 64), Ordering::SeqCst);
        }
    }

    /// What was recorded; the log is then empty.
    pub fn take(&self) -> DirtyPages {
        let mut pages = DirtyPages::default();
        for (first, words) in &self.regions {
            pages.push_region(*first, words.iter().map(|word| word.swap(0, Ordering::SeqCst)).collect());
        }
        pages
    }
}
