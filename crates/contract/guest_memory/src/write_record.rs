//! What is noted about each write that does not come from a vCPU: the dirty bitmap, and pages that somebody watches
//! because their contents were turned into something else (decoded code).

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use vm_memory::bitmap::{AtomicBitmap, Bitmap, RefSlice, WithBitmapSlice};
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use crate::{GuestAddress, GuestMemory, PAGE_SIZE, Slot, Slots};

/// Is told of writes to watched pages. Implemented by the soft engine.
pub trait WriteWatcher: Send + Sync {
    /// Somebody other than a vCPU wrote to the page at guest-physical address `gpa`. It is watched no longer.
    fn written(&self, gpa: u64);
}

/// Writes to one region.
pub struct WriteRecord {
    dirty: AtomicBitmap,
    first_gpa: u64,
    /// A bit for each watched page. Empty until there is a watcher.
    watched: OnceLock<Watch>,
    pages: usize,
}

struct Watch {
    bits: Vec<AtomicU64>,
    watcher: Arc<dyn WriteWatcher>,
}

impl WriteRecord {
    pub(crate) fn new(first_gpa: u64, size: usize) -> WriteRecord {
        let page = NonZeroUsize::new(PAGE_SIZE as usize).unwrap_or(NonZeroUsize::MIN);
        let pages = size.div_ceil(PAGE_SIZE as usize);
        WriteRecord { dirty: AtomicBitmap::new(size, page), first_gpa, watched: OnceLock::new(), pages }
    }

    pub(crate) fn take_dirty(&self) -> Vec<u64> {
        self.dirty.get_and_reset()
    }

    fn tell(&self, watch: &Watch, offset: usize, len: usize) {
        let first = offset / PAGE_SIZE as usize;
        let last = offset.saturating_add(len.max(1) - 1) / PAGE_SIZE as usize;
        for page in first..=last.min(self.pages.saturating_sub(1)) {
            let (word, bit) = (&watch.bits[page / 64], 1u64 << (page % 64));
            if word.load(Ordering::SeqCst) & bit != 0 && word.fetch_and(!bit, Ordering::SeqCst) & bit != 0 {
                watch.watcher.written(self.first_gpa + page as u64 * PAGE_SIZE);
            }
        }
    }
}

impl fmt::Debug for WriteRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WriteRecord({:#x}, {} pages)", self.first_gpa, self.pages)
    }
}

impl<'a> WithBitmapSlice<'a> for WriteRecord {
    type S = RefSlice<'a, WriteRecord>;
}

impl Bitmap for WriteRecord {
    fn mark_dirty(&self, offset: usize, len: usize) {
        self.dirty.mark_dirty(offset, len);
        if let Some(watch) = self.watched.get() {
            self.tell(watch, offset, len);
        }
    }

    fn dirty_at(&self, offset: usize) -> bool {
        self.dirty.dirty_at(offset)
    }

    fn slice_at(&self, offset: usize) -> RefSlice<'_, WriteRecord> {
        RefSlice::new(self, offset)
    }
}

/// Who is told of writes to all slots, those that come later too.
pub(crate) struct Watcher(Arc<dyn WriteWatcher>);

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watcher")
    }
}

impl GuestMemory {
    /// Names who is told of writes to watched pages. The first call counts: memory belongs to one VM.
    pub fn set_write_watcher(&self, watcher: &Arc<dyn WriteWatcher>) {
        let _changes = self.lock_changes();
        self.shared.watcher.get_or_init(|| Watcher(Arc::clone(watcher)));
        self.slots().slots().iter().for_each(|slot| self.watch_slot(slot));
    }

    /// Has writes to a slot told, if there is anybody to tell.
    pub(crate) fn watch_slot(&self, slot: &Slot) {
        let Some(Watcher(watcher)) = self.shared.watcher.get() else { return };
        let mapping = slot.region.get_mmap();
        let record = mapping.bitmap();
        record.watched.get_or_init(|| {
            let bits = (0..record.pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
            Watch { bits, watcher: Arc::clone(watcher) }
        });
    }
}

impl Slots {
    /// Watches the page of RAM at guest-physical address `gpa` until it is written next.
    pub fn watch_writes(&self, gpa: u64) {
        let Some(region) = self.find_region(GuestAddress(gpa)) else { return };
        let page = ((gpa - region.start_addr().0) / PAGE_SIZE) as usize;
        if let Some(watch) = region.get_mmap().bitmap().watched.get() {
            watch.bits[page / 64].fetch_or(1 << (page % 64), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{Bytes as _, GpaRange, Policy};

    #[derive(Default)]
    struct Heard(Mutex<Vec<u64>>);

    impl WriteWatcher for Heard {
        fn written(&self, gpa: u64) {
            self.0.lock().unwrap().push(gpa);
        }
    }

    #[test]
    fn a_watched_page_is_told_of_once() {
        let range = GpaRange { start: GuestAddress(0x10_0000), size_bytes: 0x4000 };
        let policy = Policy { huge_pages: false, ..Policy::default() };
        let memory = GuestMemory::allocate(&[range], policy).unwrap();
        let heard = Arc::new(Heard::default());
        let watcher: Arc<dyn WriteWatcher> = Arc::clone(&heard) as _;
        memory.set_write_watcher(&watcher);
        memory.slots().watch_writes(0x10_1000);
        memory.slots().watch_writes(0x10_2000);
        memory.slots().write_slice(&[1; 16], GuestAddress(0x10_0100)).unwrap();
        assert!(heard.0.lock().unwrap().is_empty());
        memory.slots().write_slice(&[1; 0x2000], GuestAddress(0x10_0ff0)).unwrap();
        assert_eq!(*heard.0.lock().unwrap(), [0x10_1000, 0x10_2000]);
        memory.slots().write_slice(&[1], GuestAddress(0x10_1000)).unwrap();
        assert_eq!(heard.0.lock().unwrap().len(), 2);
    }

    #[test]
    fn buffers_for_the_host_kernel_count_when_they_are_given_and_when_they_are_given_back() {
        let range = GpaRange { start: GuestAddress(0), size_bytes: 0x4000 };
        let policy = Policy { huge_pages: false, ..Policy::default() };
        let memory = GuestMemory::allocate(&[range], policy).unwrap();
        let heard = Arc::new(Heard::default());
        let watcher: Arc<dyn WriteWatcher> = Arc::clone(&heard) as _;
        memory.set_write_watcher(&watcher);
        memory.slots().watch_writes(0x1000);
        let buffers = memory.io_buffers([(GuestAddress(0x1200), 512)], true).unwrap();
        assert_eq!(heard.0.lock().unwrap().len(), 1);
        memory.slots().watch_writes(0x1000);
        drop(buffers);
        assert_eq!(heard.0.lock().unwrap().len(), 2);
    }
}
