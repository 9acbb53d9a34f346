//! Guest memory: slots that come and go, host policy (merging, huge pages), dirty tracking, and the only code that
//! turns guest-physical addresses into host memory.
//!
//! This crate may depend on `host` crates only. It is one of the few crates with `unsafe`: every other
//! crate reaches guest RAM through the checked accessors of [`vm_memory`] or through [`IoBuffers`].
//!
//! [`GuestMemory`] is what changes; [`Slots`] is how it is at one moment. Users: the engines map slots and follow their changes;
//! `boot_loader` and `acpi` write images into them; virtio devices read rings and move payloads, and look at the slots
//! anew for each request. Nobody waits for anybody: a slot that is removed stays mapped until the last one who has
//! begun with it is done.

#![allow(unsafe_code)]

mod allocate;
mod change;
mod dirty;
mod frame;
mod gate;
mod io_buffers;
mod slot;
mod slots;
mod write_record;

use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

pub use allocate::{AllocateError, Policy};
use arc_swap::{ArcSwap, Guard};
pub use change::Removed;
pub use dirty::{DirtyPages, bits};
pub use frame::{Frame, Word, has_exchange_16};
pub use gate::{Gate, Inside, Shut};
pub use host_sys::io_buffers::IoBuffers;
pub use slot::{Access, Backing, FileRange, ForeignMemory, NewSlot, Slot, SlotId};
pub use slots::Slots;
use vm_memory::GuestMemoryMmap;
pub use vm_memory::{
    Address, ByteValued, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryRegion, Le16,
    Le32, Le64, ReadVolatile, VolatileSlice, WriteVolatile,
};
use write_record::Watcher;
pub use write_record::{WriteRecord, WriteWatcher};

/// Size of a guest page and of one bit of the dirty bitmap, in bytes.
pub const PAGE_SIZE: u64 = 4096;

/// The collection of mapped regions behind a [`GuestMemory`].
///
/// Named so that generic code of `virtio-queue` can be handed `&*memory`.
pub type Ram = GuestMemoryMmap<WriteRecord>;

/// A range of guest-physical addresses: `start .. start + size_bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpaRange {
    /// First guest-physical address.
    pub start: GuestAddress,
    /// Length in bytes.
    pub size_bytes: u64,
}

/// A VM's memory. Cloning is cheap and means the same memory.
#[derive(Clone, Debug)]
pub struct GuestMemory {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    now: ArcSwap<Slots>,
    /// Held by whoever changes the slots: the last id that was given.
    last_id: Mutex<std::num::NonZeroU64>,
    gate: OnceLock<Gate>,
    watcher: OnceLock<Watcher>,
}

/// The slots of this moment, for one request. Short-lived: whoever keeps them takes a [`snapshot`](GuestMemory::snapshot).
#[derive(Debug)]
pub struct Now(Guard<Arc<Slots>>);

impl Deref for Now {
    type Target = Slots;

    fn deref(&self) -> &Slots {
        &self.0
    }
}

impl GuestMemory {
    /// How it is now, to look at for a moment.
    pub fn slots(&self) -> Now {
        Now(self.shared.now.load())
    }

    /// How it is now, to keep.
    pub fn snapshot(&self) -> Arc<Slots> {
        self.shared.now.load_full()
    }

    fn publish(&self, slots: Slots) {
        self.shared.now.store(Arc::new(slots));
    }

    /// Changes of the slots, one at a time. A panic in another has changed nothing.
    fn lock_changes(&self) -> MutexGuard<'_, std::num::NonZeroU64> {
        self.shared.last_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
