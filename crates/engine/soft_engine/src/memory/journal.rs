//! What one stretch of guest code does to RAM, so that it can be undone and done again: for comparing the tiers.
//!
//! While a journal is open, a page is kept as it was before the first store to it. Stores that hit the software TLB are
//! not seen; they may only go to pages whose entry was made while the journal was open.
//!
//! Devices are kept out of RAM from before the first time to after the second, or until it is clear that there is no
//! second one. What the host kernel has in its hands is not done twice.

use std::cell::{Cell, RefCell};

use guest_memory::{Frame, Gate, PAGE_SIZE, Shut};

type Bytes = Box<[u8; PAGE_SIZE as usize]>;

/// Pages as they were.
#[derive(Default)]
pub struct Journal<'m> {
    open: Cell<bool>,
    pages: RefCell<Vec<Page<'m>>>,
    /// Something was done that cannot be done again with the same outcome.
    unrepeatable: Cell<bool>,
    gate: Cell<Option<&'m Gate>>,
    /// Devices are kept out.
    shut: Cell<Option<Shut<'m>>>,
}

/// A page and its bytes at some moment.
pub struct Page<'m> {
    gpa: u64,
    frame: Frame<'m>,
    bytes: Bytes,
}

impl<'m> Page<'m> {
    fn of(gpa: u64, frame: Frame<'m>) -> Page<'m> {
        let mut bytes = Box::new([0; PAGE_SIZE as usize]);
        frame.read(0, &mut bytes[..]);
        Page { gpa, frame, bytes }
    }

    /// Offset of the first byte that is another one now.
    pub fn first_change(&self) -> Option<usize> {
        let now = Page::of(self.gpa, self.frame);
        now.bytes.iter().zip(&self.bytes[..]).position(|(now, before)| now != before)
    }

    /// Guest-physical address.
    pub fn gpa(&self) -> u64 {
        self.gpa
    }
}

impl<'m> Journal<'m> {
    /// Keeps devices out of RAM that is behind `gate`.
    pub fn keep_out(&self, gate: Option<&'m Gate>) {
        self.gate.set(gate);
        self.shut.set(gate.map(Gate::shut));
    }

    /// Lets them in again.
    pub fn let_in(&self) {
        self.shut.set(None);
    }

    /// Opens an empty journal.
    pub fn begin(&self) {
        self.pages.borrow_mut().clear();
        self.unrepeatable.set(false);
        self.open.set(true);
    }

    /// Closes it. What is in it stays.
    pub fn end(&self) {
        self.open.set(false);
    }

    /// Whether stores have to be told.
    pub fn is_open(&self) -> bool {
        self.open.get()
    }

    /// The page at `gpa` is looked at: that of a buffer that the host kernel has may be another the next time.
    pub fn look(&self, gpa: u64) {
        if self.is_open() && self.gate.get().is_some_and(|gate| gate.is_lent(gpa)) {
            self.note_unrepeatable();
        }
    }

    /// Keeps the page at `gpa`, if it is not kept already.
    pub fn keep(&self, gpa: u64, frame: Frame<'m>) {
        let page = gpa & !(PAGE_SIZE - 1);
        if self.is_open() && self.pages.borrow().iter().all(|kept| kept.gpa != page) {
            self.pages.borrow_mut().push(Page::of(page, frame));
        }
    }

    /// Notes that doing it again would do something else. Whoever waits for a device from now on need not fear that it
    /// is kept out.
    pub fn note_unrepeatable(&self) {
        self.unrepeatable.set(true);
        self.let_in();
    }

    /// Whether it would.
    pub fn is_unrepeatable(&self) -> bool {
        self.unrepeatable.get()
    }

    /// The kept pages as they are now.
    pub fn now(&self) -> Vec<Page<'m>> {
        self.pages.borrow().iter().map(|page| Page::of(page.gpa, page.frame)).collect()
    }

    /// Puts the kept pages back.
    pub fn undo(&self) {
        for page in self.pages.borrow().iter() {
            page.frame.write(0, &page.bytes[..]);
        }
    }

    /// Guest-physical addresses of kept pages that have changed and are not among `others`.
    pub fn others(&self, others: &[Page<'m>]) -> Vec<u64> {
        let pages = self.pages.borrow();
        let only_here = |page: &&Page<'m>| others.iter().all(|other| other.gpa != page.gpa);
        let changed = pages.iter().filter(only_here).filter(|page| page.first_change().is_some());
        changed.map(|page| page.gpa).collect()
    }
}

#[cfg(test)]
mod tests {
    use guest_memory::{GpaRange, GuestAddress, GuestMemory, Policy};

    use super::*;

    #[test]
    fn a_page_is_as_before_the_first_store() {
        let range = GpaRange { start: GuestAddress(0), size_bytes: 0x2000 };
        let memory = GuestMemory::allocate(&[range], Policy::default()).unwrap();
        let slots = memory.snapshot();
        let frame = slots.frame(0x1000).unwrap();
        frame.store(8, 1u64);
        let journal = Journal::default();
        journal.begin();
        for value in [2u64, 3] {
            journal.keep(0x1008, frame);
            frame.store(8, value);
        }
        let after = journal.now();
        journal.undo();
        assert_eq!((frame.load::<u64>(8), after.len()), (1, 1));
        assert_eq!((after[0].first_change(), after[0].gpa()), (Some(8), 0x1000));
        assert!(journal.others(&after).is_empty());
    }

    #[test]
    fn a_buffer_in_the_kernels_hands_is_not_looked_at_twice() {
        let range = GpaRange { start: GuestAddress(0), size_bytes: 0x3000 };
        let memory = GuestMemory::allocate(&[range], Policy::default()).unwrap();
        memory.set_gate();
        let journal = Journal::default();
        for (gpa, repeats) in [(0, true), (0x1000, false), (0x1fff, false), (0x2000, true)] {
            let buffers = memory.io_buffers([(GuestAddress(0x1800), 0x200)], false).unwrap();
            journal.keep_out(memory.gate());
            journal.begin();
            journal.look(gpa);
            journal.end();
            assert_eq!(journal.is_unrepeatable(), !repeats, "{gpa:#x}");
            // What is not repeated keeps no device out.
            assert_eq!(journal.shut.take().is_some(), repeats, "{gpa:#x}");
            drop(buffers);
        }
    }
}
