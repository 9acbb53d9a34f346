//! Where ranges of RAM lie in a file.

use guest_memory::{GpaRange, GuestMemory};
use serde::{Deserialize, Serialize};

use super::PAGE_BYTES;

/// More ranges than any machine has.
const RANGES_MAX: usize = 64;
/// More RAM than any machine has, in bytes.
const SIZE_MAX: u64 = 1 << 46;

/// A range of RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RamRange {
    /// Its first guest-physical address.
    pub gpa: u64,
    /// Its length in bytes.
    pub size_bytes: u64,
}

/// All of a machine's RAM: ranges in ascending order, one behind another in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RamLayout(Vec<RamRange>);

impl RamLayout {
    /// The RAM of a machine.
    pub fn of(memory: &GuestMemory) -> RamLayout {
        let range = |range: GpaRange| RamRange { gpa: range.start.0, size_bytes: range.size_bytes };
        RamLayout(memory.slots().ram_ranges().map(range).collect())
    }

    /// The ranges.
    pub fn ranges(&self) -> &[RamRange] {
        &self.0
    }

    /// Whether it is RAM of a machine: whole pages, ascending, none twice.
    pub(super) fn is_sound(&self) -> bool {
        let whole = |number: u64| number.is_multiple_of(PAGE_BYTES as u64);
        let mut end = 0;
        for RamRange { gpa, size_bytes } in &self.0 {
            if *gpa < end || *size_bytes == 0 || !whole(*gpa) || !whole(*size_bytes) {
                return false;
            }
            let Some(next) = gpa.checked_add(*size_bytes).filter(|next| *next <= SIZE_MAX) else {
                return false;
            };
            end = next;
        }
        !self.0.is_empty() && self.0.len() <= RANGES_MAX
    }

    /// Length in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.0.iter().map(|range| range.size_bytes).sum()
    }

    /// Number of pages.
    pub fn pages(&self) -> u64 {
        self.size_bytes() / PAGE_BYTES as u64
    }

    /// The number of the page that holds a guest-physical address; nothing where there is no RAM.
    pub fn page_at(&self, gpa: u64) -> Option<u64> {
        let mut before = 0;
        for range in &self.0 {
            if let Some(offset) = gpa.checked_sub(range.gpa).filter(|offset| *offset < range.size_bytes) {
                return Some((before + offset) / PAGE_BYTES as u64);
            }
            before += range.size_bytes;
        }
        None
    }

    /// First guest-physical address of a page by its number.
    pub fn gpa_of(&self, page: u64) -> Option<u64> {
        let mut offset = page.checked_mul(PAGE_BYTES as u64)?;
        for range in &self.0 {
            if offset < range.size_bytes {
                return Some(range.gpa + offset);
            }
            offset -= range.size_bytes;
        }
        None
    }
}
