//! Allocation of guest RAM and the advice given to the host kernel about it.

use std::ffi::c_int;
use std::io;
use std::sync::Arc;

use vm_memory::mmap::{MmapRegionBuilder, MmapRegionError};
use vm_memory::{FileOffset, GuestRegionCollectionError, GuestRegionMmap};

use crate::{GpaRange, GuestAddress, GuestMemory, GuestMemoryBackend, GuestMemoryRegion, Ram, WriteRecord};

/// Below lie a few pages, far apart, that every boot writes (boot data, tables, the legacy area): a huge page
/// for them would cost a small guest more time to clear than all the rest of its start.
const FIRST_HUGE_GPA: GuestAddress = GuestAddress(2 << 20);

/// What stands behind guest RAM in the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backing {
    /// Private anonymous memory, the default: the only kind that KSM merges.
    #[default]
    PrivateAnonymous,
    /// A shared memfd, for when another process has to see guest RAM.
    SharedMemfd,
}

/// How the host kernel is asked to treat guest RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What stands behind the memory.
    pub backing: Backing,
    /// Advise transparent huge pages (`MADV_HUGEPAGE`). Ignored by kernels without them.
    pub huge_pages: bool,
    /// Let ksmd merge equal pages (`MADV_MERGEABLE`).
    pub mergeable: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { backing: Backing::PrivateAnonymous, huge_pages: true, mergeable: false }
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
    /// Ranges overlap or are out of order.
    #[error("guest memory ranges are not disjoint and ascending")]
    Layout(#[source] GuestRegionCollectionError),
    /// The kernel has no KSM, so memory cannot be mergeable.
    #[error("this kernel cannot merge equal pages (CONFIG_KSM is off)")]
    NotMergeable(#[source] io::Error),
}

impl GuestMemory {
    /// Reserves RAM for `ranges` (ascending, disjoint, page-aligned). Nothing is committed until touched.
    pub fn allocate(ranges: &[GpaRange], policy: Policy) -> Result<GuestMemory, AllocateError> {
        let regions = ranges.iter().map(|range| map_region(*range, policy)).collect::<Result<Vec<_>, _>>()?;
        let ram = Ram::from_regions(regions).map_err(AllocateError::Layout)?;
        let memory = GuestMemory { ram: Arc::new(ram), gate: Arc::default() };
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

    /// Gives advice about all RAM from guest-physical address `from` on.
    fn advise(&self, advice: c_int, from: GuestAddress) -> io::Result<()> {
        for region in self.ram.iter() {
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

fn map_region(range: GpaRange, policy: Policy) -> Result<GuestRegionMmap<WriteRecord>, AllocateError> {
    let size_bytes = range.size_bytes;
    let size = usize::try_from(size_bytes).map_err(|_| AllocateError::TooLarge(size_bytes))?;
    let builder = MmapRegionBuilder::new_with_bitmap(size, WriteRecord::new(range.start.0, size))
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE);
    let builder = match policy.backing {
        Backing::PrivateAnonymous => {
            builder.with_mmap_flags(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE)
        }
        Backing::SharedMemfd => {
            let file = host_sys::memory::memfd("yagura-ram", size_bytes)
                .map_err(|source| AllocateError::Memfd { size_bytes, source })?;
            builder
                .with_mmap_flags(libc::MAP_SHARED | libc::MAP_NORESERVE)
                .with_file_offset(FileOffset::new(file, 0))
        }
    };
    let region = builder.build().map_err(|source| AllocateError::Map { size_bytes, source })?;
    GuestRegionMmap::new(region, range.start).ok_or(AllocateError::TooLarge(size_bytes))
}
