//! Cases and records in memory that parent and child share.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::case::{Case, Record};

/// Most cases in a batch.
pub const BATCH: usize = 256;

/// A batch.
#[repr(C)]
pub struct Mailbox {
    count: AtomicU32,
    finished: AtomicU32,
    cases: [Case; BATCH],
    records: [Record; BATCH],
}

/// A mapping that children inherit. While a child works on it the parent only waits.
pub struct SharedMailbox(NonNull<Mailbox>);

// SAFETY: the mapping belongs to this value alone; nothing in it belongs to a thread.
unsafe impl Send for SharedMailbox {}

impl SharedMailbox {
    /// Maps an empty one.
    pub fn map() -> io::Result<SharedMailbox> {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), size_of::<Mailbox>(), access, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(start.cast()).map(SharedMailbox).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// Where it is.
    pub fn as_ptr(&self) -> *mut Mailbox {
        self.0.as_ptr()
    }

    /// Puts in a batch; what is more than one is left out.
    pub fn put(&self, cases: &[Case]) {
        let count = cases.len().min(BATCH);
        let mailbox = self.0.as_ptr();
        // SAFETY: the mapping lives as long as `self`, no child works on it now, and `count` cases fit.
        unsafe {
            (&raw mut (*mailbox).cases).cast::<Case>().copy_from_nonoverlapping(cases.as_ptr(), count);
            (*mailbox).finished.store(0, Ordering::Relaxed);
            (*mailbox).count.store(count as u32, Ordering::Release);
        }
    }

    /// Cases that are done.
    pub fn finished(&self) -> usize {
        // SAFETY: an atomic in the mapping, which lives as long as `self`.
        unsafe { (*self.0.as_ptr()).finished.load(Ordering::Acquire) as usize }
    }

    /// Takes the first `count` records out.
    pub fn take(&self, count: usize, records: &mut Vec<Record>) {
        for index in 0..count.min(BATCH) {
            // SAFETY: the child has written this record in full and does not touch it any more.
            records
                .push(unsafe { (&raw const (*self.0.as_ptr()).records).cast::<Record>().add(index).read() });
        }
    }
}

impl Drop for SharedMailbox {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's, and no reference into it outlives a method.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<Mailbox>()) };
    }
}

/// The child's side. The pointer leads to a live mapping, on which only this child works now.
impl Mailbox {
    /// Case `index` and its record; `None` behind the last.
    ///
    /// # Safety
    /// `mailbox` is a live mapping, and the parent waits.
    pub unsafe fn case<'m>(mailbox: *mut Mailbox, index: usize) -> Option<(&'m Case, &'m mut Record)> {
        // SAFETY: as the caller promises; the index is checked against the arrays' size.
        unsafe {
            if index >= ((*mailbox).count.load(Ordering::Acquire) as usize).min(BATCH) {
                return None;
            }
            let case = (&raw const (*mailbox).cases).cast::<Case>().add(index);
            let record = (&raw mut (*mailbox).records).cast::<Record>().add(index);
            Some((&*case, &mut *record))
        }
    }

    /// Tells that `count` cases are done.
    ///
    /// # Safety
    /// As for [`case`](Mailbox::case).
    pub unsafe fn finish(mailbox: *mut Mailbox, count: usize) {
        // SAFETY: as the caller promises.
        unsafe { (*mailbox).finished.store(count as u32, Ordering::Release) }
    }
}
