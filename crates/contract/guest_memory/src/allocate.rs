//! Allocation of guest RAM and the advice given to the host kernel about it.

use std::ffi::c_int;
use std::io;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::ArcSwap;
use vm_memory::mmap::{MmapRegionBuilder, MmapRegionError};
use vm_memory::{FileOffset, GuestRegionCollectionError, GuestRegionMmap};

use crate::change::first_ids;
use crate::{
    Access, Backing, FileRange, ForeignMemory, GpaRange, GuestAddress, GuestMemory, GuestMemoryBackend,
    GuestMemoryRegion, NewSlot, PAGE_SIZE, Shared, Slot, SlotId, Slots, WriteRecord,
};

/// Below lie a few pages, far apart, that every boot writes (boot data, tables, the legacy area): a huge page
/// for them would cost a small guest more time to clear than all the rest of its start.
const FIRST_HUGE_GPA: GuestAddress = GuestAddress(2 << 20);

/// How the host kernel is asked to treat guest RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Advise transparent huge pages (`MADV_HUGEPAGE`). Ignored by kernels without them.
    pub huge_pages: bool,
    /// Let ksmd merge equal pages (`MADV_MERGEABLE`).
    pub mergeable: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { huge_pages: true, mergeable: false }
    }
}

/// Why guest RAM could not be had.
#[derive(Debug, thiserror::Error)]
pub enum AllocateError {
    /// A range is larger than this host's address space.
    #[error("guest memory of {0} bytes is more than this host can address")]
    TooLarge(u64),
    /// `mmap` or `memfd_create` failed.
    #[error("cannot reserve {size_bytes} bytes of guest memory")]
    Map {
        /// Size asked for, in bytes.
        size_bytes: u64,
        /// The kernel's answer.
        source: MmapRegionError,
    },
    /// The memfd could not be made.
    #[error("cannot create shared guest memory of {size_bytes} bytes")]
    Memfd {
        /// Size asked for, in bytes.
        size_bytes: u64,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The file that is to be mapped is not that long, or cannot be looked at.
    #[error("cannot use {size_bytes} bytes of a file from byte {offset_bytes} on as guest memory")]
    File {
        /// Size asked for, in bytes.
        size_bytes: u64,
        /// Where in the file, in bytes.
        offset_bytes: u64,
        /// The kernel's answer, or that the file ends before.
        source: io::Error,
    },
    /// A range is empty or not made of whole pages.
    #[error("guest memory at {:#x} of {} bytes is not made of whole pages", .0.start.0, .0.size_bytes)]
    NotPages(GpaRange),
    /// Ranges overlap.
    #[error("guest memory ranges overlap")]
    Layout(#[source] GuestRegionCollectionError),
    /// The kernel has no KSM, so memory cannot be mergeable.
    #[error("this kernel cannot merge equal pages (CONFIG_KSM is off)")]
    NotMergeable(#[source] io::Error),
}

impl GuestMemory {
    /// Reserves RAM for `ranges` (disjoint, of whole pages). Nothing is committed until touched.
    pub fn allocate(ranges: &[GpaRange], policy: Policy) -> Result<GuestMemory, AllocateError> {
        let ram =
            |range: &GpaRange| NewSlot { range: *range, access: Access::Ram, backing: Backing::Anonymous };
        GuestMemory::map(&ranges.iter().map(ram).collect::<Vec<_>>(), policy)
    }

    /// Maps `slots` (disjoint, of whole pages).
    pub fn map(slots: &[NewSlot], policy: Policy) -> Result<GuestMemory, AllocateError> {
        let mapped = slots.iter().zip(first_ids()).map(|(slot, id)| map_slot(slot, id));
        let mapped = mapped.collect::<Result<Vec<_>, _>>()?;
        let last_id = mapped.last().map_or(NonZeroU64::MIN, |slot| slot.id().0);
        let now = Slots::new(0, mapped).map_err(AllocateError::Layout)?;
        let shared = Shared {
            now: ArcSwap::from_pointee(now),
            last_id: Mutex::new(last_id),
            gate: OnceLock::new(),
            watcher: OnceLock::new(),
        };
        let memory = GuestMemory { shared: Arc::new(shared) };
        if policy.huge_pages {
            // Advice only: a kernel without transparent huge pages answers EINVAL and loses nothing.
            let _ = memory.advise(libc::MADV_HUGEPAGE, FIRST_HUGE_GPA);
        }
        if policy.mergeable {
            memory.set_mergeable(true).map_err(AllocateError::NotMergeable)?;
        }
        Ok(memory)
    }

    /// Turns merging of equal pages on or off. Turning it off gives every page back its own copy.
    pub fn set_mergeable(&self, mergeable: bool) -> io::Result<()> {
        self.advise(if mergeable { libc::MADV_MERGEABLE } else { libc::MADV_UNMERGEABLE }, GuestAddress(0))
    }

    /// Gives advice about all RAM of ours from guest-physical address `from` on.
    fn advise(&self, advice: c_int, from: GuestAddress) -> io::Result<()> {
        let now = self.slots();
        for region in now.iter().filter(|region| region.get_mmap().owned()) {
            let skip = from.0.saturating_sub(region.start_addr().0).min(region.len());
            let (start, len) = (region.as_ptr().wrapping_add(skip as usize), (region.len() - skip) as usize);
            // SAFETY: the range lies in one live mapping owned by `region` (`skip` is at most its length), and the advice values used
            // here (HUGEPAGE, MERGEABLE, UNMERGEABLE) never change the contents of memory.
            if unsafe { libc::madvise(start.cast(), len, advice) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

/// Maps what is behind a slot.
pub(crate) fn map_slot(slot: &NewSlot, id: SlotId) -> Result<Slot, AllocateError> {
    let NewSlot { range, access, backing } = slot;
    let size_bytes = range.size_bytes;
    if size_bytes == 0 || !(range.start.0 | size_bytes).is_multiple_of(PAGE_SIZE) {
        return Err(AllocateError::NotPages(*range));
    }
    let size = usize::try_from(size_bytes).map_err(|_| AllocateError::TooLarge(size_bytes))?;
    let builder = MmapRegionBuilder::new_with_bitmap(size, WriteRecord::new(range.start.0, size))
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE);
    let builder = match backing {
        Backing::Anonymous => {
            builder.with_mmap_flags(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE)
        }
        Backing::Memfd => {
            let file = host_sys::memory::memfd("yagura-ram", size_bytes)
                .map_err(|source| AllocateError::Memfd { size_bytes, source })?;
            builder
                .with_mmap_flags(libc::MAP_SHARED | libc::MAP_NORESERVE)
                .with_file_offset(FileOffset::new(file, 0))
        }
        Backing::PrivateFile(file) => builder
            .with_mmap_flags(libc::MAP_PRIVATE | libc::MAP_NORESERVE)
            .with_file_offset(part_of(file, size_bytes)?),
        Backing::SharedFile(file) => {
            builder.with_mmap_flags(libc::MAP_SHARED).with_file_offset(part_of(file, size_bytes)?)
        }
        Backing::Foreign(ForeignMemory { start }) => {
            // SAFETY: whoever made the `ForeignMemory` promised that it is mapped for as long as the slot is used.
            unsafe { builder.with_raw_mmap_pointer(start.as_ptr()) }
        }
    };
    let region = builder.build();
    let region = region.map_err(|source| AllocateError::Map { size_bytes, source })?;
    let region = GuestRegionMmap::new(region, range.start).ok_or(AllocateError::TooLarge(size_bytes))?;
    Ok(Slot { id, access: *access, region: Arc::new(region) })
}

/// A part of a file that is there: what is mapped beyond its end would kill whoever touches it.
fn part_of(range: &FileRange, size_bytes: u64) -> Result<FileOffset, AllocateError> {
    let FileRange { file, offset_bytes } = range;
    let failed = |source| AllocateError::File { size_bytes, offset_bytes: *offset_bytes, source };
    let there = file.metadata().map_err(failed)?.len();
    match offset_bytes.checked_add(size_bytes) {
        Some(end) if end <= there => Ok(FileOffset::from_arc(Arc::clone(file), *offset_bytes)),
        _ => Err(failed(io::ErrorKind::UnexpectedEof.into())),
    }
}
