//! One slot: a range of guest-physical addresses with host memory behind it.

use std::fs::File;
use std::num::NonZeroU64;
use std::ptr::NonNull;
use std::sync::Arc;

use vm_memory::{Bytes as _, GuestMemoryError, GuestRegionMmap, MemoryRegionAddress};

use crate::{GpaRange, GuestMemoryRegion, WriteRecord};

/// A slot with its mapping.
pub type MappedRegion = GuestRegionMmap<WriteRecord>;

/// Names a slot of one VM's memory. Never given twice, so that a slot with a known id has not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub(crate) NonZeroU64);

/// What a guest may do in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read, write, execute.
    Ram,
    /// Read and execute. A vCPU's write goes to the device at that address, if there is one, and devices do not reach
    /// it at all: to them it is no memory.
    Rom,
}

/// A part of a file.
#[derive(Clone, Debug)]
pub struct FileRange {
    /// The file, open for reading, and for writing too where it is shared.
    pub file: Arc<File>,
    /// Where the slot begins in it: a multiple of the host's page size.
    pub offset_bytes: u64,
}

/// Host memory that somebody else has mapped and unmaps.
#[derive(Clone, Copy, Debug)]
pub struct ForeignMemory {
    pub(crate) start: NonNull<u8>,
}

// SAFETY: an address; whoever made it promised that access from any thread is sound.
unsafe impl Send for ForeignMemory {}
// SAFETY: as for Send.
unsafe impl Sync for ForeignMemory {}

impl ForeignMemory {
    /// Memory from `start` on, which is aligned to the host's pages.
    ///
    /// # Safety
    /// From `start` on as many bytes as the slot has must be mapped, readable and, unless it is a ROM, writable, from now on until the
    /// slot was removed, every engine has followed, and [`Removed::is_released`](crate::Removed::is_released). Access
    /// from any thread must be sound, as it is for memory that a guest writes: no Rust reference into it may exist.
    pub unsafe fn new(start: NonNull<u8>) -> ForeignMemory {
        ForeignMemory { start }
    }
}

/// What stands behind a slot in the host.
#[derive(Clone, Debug, Default)]
pub enum Backing {
    /// Private anonymous memory, zeroed: the only kind that KSM merges as a whole.
    #[default]
    Anonymous,
    /// A shared memfd, zeroed, for when another process has to see guest RAM.
    Memfd,
    /// A file as it is; what is written stays in this process. Whoever writes to the file meanwhile may change what was not
    /// written here, and whoever shortens it ends the VM.
    PrivateFile(FileRange),
    /// A file that is written too.
    SharedFile(FileRange),
    /// Memory that belongs to somebody else.
    Foreign(ForeignMemory),
}

/// A slot to be.
#[derive(Clone, Debug)]
pub struct NewSlot {
    /// Where it is: whole pages.
    pub range: GpaRange,
    /// What the guest may do there.
    pub access: Access,
    /// What is behind it.
    pub backing: Backing,
}

/// A slot that is there. Cloning shares the mapping.
#[derive(Clone, Debug)]
pub struct Slot {
    pub(crate) id: SlotId,
    pub(crate) access: Access,
    pub(crate) region: Arc<MappedRegion>,
}

impl Slot {
    /// Its name.
    pub fn id(&self) -> SlotId {
        self.id
    }

    /// What the guest may do there.
    pub fn access(&self) -> Access {
        self.access
    }

    /// Where it is.
    pub fn range(&self) -> GpaRange {
        GpaRange { start: self.region.start_addr(), size_bytes: self.region.len() }
    }

    /// Host virtual address of its first byte. Valid while the slot, or a clone of it, lives.
    pub fn host_address(&self) -> u64 {
        self.region.as_ptr() as u64
    }

    /// The part of a file that is mapped there, if there is one.
    pub fn file(&self) -> Option<FileRange> {
        let offset = self.region.file_offset()?;
        Some(FileRange { file: Arc::clone(offset.arc()), offset_bytes: offset.start() })
    }

    /// Writes `bytes` at `offset_bytes` from the start of the slot, a ROM's too: what its maker puts there.
    ///
    /// # Errors
    /// The slot ends before.
    pub fn fill(&self, offset_bytes: u64, bytes: &[u8]) -> Result<(), GuestMemoryError> {
        self.region.write_slice(bytes, MemoryRegionAddress(offset_bytes))
    }
}
