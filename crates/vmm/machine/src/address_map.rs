//! Where RAM and the windows for devices lie, by size of RAM.

use arch_model::x86_64::layout;
use guest_memory::{GpaRange, GuestAddress};

/// RAM as one or two ranges around the hole for devices below 4 GiB.
pub(crate) fn ram_ranges(size_bytes: u64) -> Vec<GpaRange> {
    let low = size_bytes.min(layout::LOW_RAM_END);
    let range = |start, size_bytes| GpaRange { start: GuestAddress(start), size_bytes };
    let mut ranges = vec![range(0, low)];
    if size_bytes > low {
        ranges.push(range(layout::HIGH_RAM_START, size_bytes - low));
    }
    ranges
}

/// Start of the window for 64-bit PCI regions: above RAM, aligned to its own size.
pub(crate) fn pci_mmio64_base(ram_bytes: u64) -> u64 {
    let end_of_ram = layout::HIGH_RAM_START + ram_bytes.saturating_sub(layout::LOW_RAM_END);
    end_of_ram.next_multiple_of(layout::PCI_MMIO64_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ram_goes_around_the_hole() {
        let gib = 1u64 << 30;
        assert_eq!(ram_ranges(gib).len(), 1);
        assert_eq!(ram_ranges(3 * gib).len(), 1);
        let split = ram_ranges(5 * gib);
        assert_eq!((split[0].size_bytes, split[1].start.0, split[1].size_bytes), (3 * gib, 4 * gib, 2 * gib));
    }

    #[test]
    fn the_high_window_lies_above_ram_and_is_aligned() {
        for gib in [1, 3, 5, 13, 64, 1000] {
            let ram = gib << 30;
            let base = pci_mmio64_base(ram);
            let end = ram_ranges(ram).last().map(|range| range.start.0 + range.size_bytes).unwrap();
            assert!(base >= end && base.is_multiple_of(layout::PCI_MMIO64_SIZE), "{gib} GiB");
        }
    }
}
