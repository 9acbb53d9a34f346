//! Who else is in guest RAM: for an engine that looks at what a stretch of guest code does to it twice.
//!
//! Without [`GuestMemory::set_gate`] nobody waits for anybody. With it, devices come in through the gate while they work
//! ([`GuestMemory::enter`]), the engine shuts it for a moment ([`Gate::shut`]), and buffers that the host kernel has are
//! known by their pages ([`Gate::is_lent`]).

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{GuestAddress, GuestMemory, PAGE_SIZE};

/// A gate before RAM. Order of its locks: `inside`, then `lent`.
#[derive(Debug, Default)]
pub struct Gate {
    inside: RwLock<()>,
    /// Devices that want to come in: the engine lets them go first.
    waiting: AtomicUsize,
    /// Pages in buffers that the host kernel has, and in how many.
    lent: Mutex<HashMap<u64, u32>>,
}

/// A device is in RAM until this is dropped.
#[must_use]
pub struct Inside<'g> {
    _guard: Option<RwLockReadGuard<'g, ()>>,
}

/// No device is in RAM until this is dropped.
#[must_use]
pub struct Shut<'g> {
    _guard: RwLockWriteGuard<'g, ()>,
}

impl GuestMemory {
    /// Makes a gate, which stays. For before devices start.
    pub fn set_gate(&self) {
        self.shared.gate.get_or_init(Gate::default);
    }

    /// The gate, if there is one.
    pub fn gate(&self) -> Option<&Gate> {
        self.shared.gate.get()
    }

    /// A device comes in; waits while the gate is shut.
    pub fn enter(&self) -> Inside<'_> {
        Inside { _guard: self.gate().map(Gate::enter) }
    }
}

impl Gate {
    fn enter(&self) -> RwLockReadGuard<'_, ()> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        // A panic elsewhere leaves no state behind that could be wrong.
        let guard = self.inside.read().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        guard
    }

    /// Waits until no device is inside and keeps all out.
    pub fn shut(&self) -> Shut<'_> {
        while self.waiting.load(Ordering::SeqCst) > 0 {
            std::thread::yield_now();
        }
        Shut { _guard: self.inside.write().unwrap_or_else(PoisonError::into_inner) }
    }

    /// Whether the host kernel has a buffer in the page at guest-physical address `gpa`.
    pub fn is_lent(&self, gpa: u64) -> bool {
        self.lent().contains_key(&(gpa / PAGE_SIZE))
    }

    /// Notes the pages of a buffer that the host kernel gets.
    pub(crate) fn lend(&self, gpa: GuestAddress, len: u32) {
        let mut lent = self.lent();
        for page in pages(gpa, len) {
            *lent.entry(page).or_default() += 1;
        }
    }

    /// Notes that the host kernel is done with a buffer.
    pub(crate) fn take_back(&self, gpa: GuestAddress, len: u32) {
        let mut lent = self.lent();
        for page in pages(gpa, len) {
            if let Some(count) = lent.get_mut(&page) {
                *count -= 1;
                if *count == 0 {
                    lent.remove(&page);
                }
            }
        }
    }

    fn lent(&self) -> MutexGuard<'_, HashMap<u64, u32>> {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pages(gpa: GuestAddress, len: u32) -> impl Iterator<Item = u64> {
    let last = gpa.0.saturating_add(u64::from(len).max(1) - 1);
    gpa.0 / PAGE_SIZE..=last / PAGE_SIZE
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;
    use crate::{GpaRange, Policy};

    fn memory() -> GuestMemory {
        let range = GpaRange { start: GuestAddress(0), size_bytes: 0x4000 };
        GuestMemory::allocate(&[range], Policy::default()).unwrap()
    }

    #[test]
    fn nobody_comes_in_while_the_gate_is_shut() {
        let memory = memory();
        memory.set_gate();
        let came_in = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let shut = memory.gate().unwrap().shut();
            scope.spawn(|| {
                let _inside = memory.enter();
                came_in.store(true, Ordering::SeqCst);
            });
            std::thread::sleep(Duration::from_millis(30));
            assert!(!came_in.load(Ordering::SeqCst));
            drop(shut);
        });
        assert!(came_in.load(Ordering::SeqCst));
        // All have gone again.
        drop(memory.gate().unwrap().shut());
    }

    #[test]
    fn pages_are_lent_while_any_buffer_is_in_them() {
        let memory = memory();
        memory.set_gate();
        let gate = memory.gate().unwrap();
        let lent = || [0, 0x1000, 0x2000, 0x3000].map(|gpa| gate.is_lent(gpa));
        let first = memory.io_buffers([(GuestAddress(0x1ff8), 16)], true).unwrap();
        let second = memory.io_buffers([(GuestAddress(0x2800), 0x800)], false).unwrap();
        assert_eq!(lent(), [false, true, true, false]);
        drop(first);
        assert_eq!(lent(), [false, false, true, false]);
        drop(second);
        assert_eq!(lent(), [false; 4]);
    }

    #[test]
    fn without_a_gate_nobody_waits() {
        let memory = memory();
        let _first = memory.enter();
        let _second = memory.enter();
        assert!(memory.gate().is_none());
    }
}
