//! Guest RAM: allocation, host policy (merging, huge pages), dirty tracking, and the only code that
//! turns guest-physical addresses into host memory.
//!
//! This crate may depend on `host` crates only. It is one of the few crates with `unsafe`: every other
//! crate reaches guest RAM through the checked accessors of [`vm_memory`] or through [`IoBuffers`].
//!
//! Users: the engines map [`GuestMemory::regions`]; `boot_loader` and `acpi` write images into it; virtio
//! devices read rings and move payloads.

#![allow(unsafe_code)]

mod allocate;
mod dirty;
mod frame;
mod gate;
mod io_buffers;
mod write_record;

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

pub use allocate::{AllocateError, Backing, Policy};
pub use dirty::DirtyPages;
pub use frame::{Frame, Word, has_exchange_16};
pub use gate::{Gate, Inside, Shut};
pub use host_sys::io_buffers::IoBuffers;
use vm_memory::GuestMemoryMmap;
pub use vm_memory::{
    Address, ByteValued, Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryRegion, Le16,
    Le32, Le64, ReadVolatile, VolatileSlice, WriteVolatile,
};
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

/// One contiguous piece of guest RAM and where the host process has it mapped.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    /// Guest-physical range.
    pub range: GpaRange,
    /// Host virtual address of the first byte. Valid while the [`GuestMemory`] lives.
    pub host_address: u64,
}

/// A VM's RAM. Cloning is cheap and shares the mapping; the mapping is released with the last clone.
#[derive(Clone, Debug)]
pub struct GuestMemory {
    ram: Arc<Ram>,
    gate: Arc<OnceLock<Gate>>,
}

impl GuestMemory {
    /// The mapped regions in ascending order of guest-physical address.
    pub fn regions(&self) -> impl Iterator<Item = Region> + '_ {
        self.ram.iter().map(|region| Region {
            range: GpaRange { start: region.start_addr(), size_bytes: region.len() },
            host_address: region.as_ptr() as u64,
        })
    }

    /// Total RAM in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.ram.iter().map(GuestMemoryRegion::len).sum()
    }
}

impl Deref for GuestMemory {
    type Target = Ram;

    fn deref(&self) -> &Ram {
        &self.ram
    }
}
