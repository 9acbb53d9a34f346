//! Where RAM and the windows for devices lie, by size of RAM.

use arch_model::x86_64::layout;
use serde::{Deserialize, Serialize};

use crate::MemorySize;

/// A range of guest-physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The first address.
    pub start: u64,
    /// Length in bytes.
    pub size_bytes: u64,
}

impl Range {
    /// The address behind the last one; `None` where there is none.
    pub fn end(self) -> Option<u64> {
        self.start.checked_add(self.size_bytes)
    }
}

/// What the guest finds at which of its physical addresses, but for chips, whose places are the architecture's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryMap {
    /// RAM, in ascending order.
    pub ram: Vec<Range>,
    /// PCI configuration space.
    pub ecam: Range,
    /// Window for 32-bit PCI regions.
    pub pci32: Range,
    /// Window for 64-bit PCI regions.
    pub pci64: Range,
}

impl MemoryMap {
    /// The map of a machine with so much RAM: in one or two pieces, around the hole for devices below 4 GiB.
    pub fn of(memory: MemorySize) -> MemoryMap {
        let size_bytes = memory.bytes();
        let low = size_bytes.min(layout::LOW_RAM_END);
        let high = size_bytes - low;
        let range = |start, size_bytes| Range { start, size_bytes };
        let mut ram = vec![range(0, low)];
        if high > 0 {
            ram.push(range(layout::HIGH_RAM_START, high));
        }
        // Above all RAM, and aligned to its own size.
        let pci64_base = (layout::HIGH_RAM_START + high).next_multiple_of(layout::PCI_MMIO64_SIZE);
        MemoryMap {
            ram,
            ecam: range(layout::ECAM_BASE, layout::ECAM_SIZE),
            pci32: range(layout::PCI_MMIO32_BASE, layout::PCI_MMIO32_SIZE),
            pci64: range(pci64_base, layout::PCI_MMIO64_SIZE),
        }
    }

    /// All of RAM in bytes.
    pub fn ram_bytes(&self) -> u64 {
        self.ram.iter().map(|range| range.size_bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(size: &str) -> MemoryMap {
        MemoryMap::of(size.parse().unwrap())
    }

    #[test]
    fn ram_goes_around_the_hole() {
        let gib = 1u64 << 30;
        assert_eq!((map("1G").ram.len(), map("3G").ram.len()), (1, 1));
        let split = map("5G").ram;
        assert_eq!((split[0].size_bytes, split[1].start, split[1].size_bytes), (3 * gib, 4 * gib, 2 * gib));
    }

    #[test]
    fn the_high_window_lies_above_ram_and_is_aligned() {
        for size in ["1M", "1G", "3G", "5G", "13G", "64G", "1000G"] {
            let map = map(size);
            let end = map.ram.last().and_then(|range| range.end()).unwrap();
            assert!(map.pci64.start >= end && map.pci64.start.is_multiple_of(map.pci64.size_bytes), "{size}");
            assert!(map.pci64.start >= 1 << 32, "{size}");
            assert_eq!(map.ram_bytes(), size.parse::<MemorySize>().unwrap().bytes());
        }
    }
}
