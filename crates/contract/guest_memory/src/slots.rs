//! All slots of a VM as they are at one moment.

use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::NonNull;

use vm_memory::GuestRegionCollectionError;

use crate::slot::{Access, Slot, SlotId};
use crate::{Frame, GpaRange, GuestAddress, PAGE_SIZE, Ram};

/// Guest memory at one moment. What it maps stays mapped for as long as it lives, whatever changes meanwhile.
///
/// Dereferences to the [`Ram`] that devices reach, with the accessors of `vm_memory`.
#[derive(Debug)]
pub struct Slots {
    generation: u64,
    /// In ascending order of their addresses.
    slots: Vec<Slot>,
    ram: Ram,
}

impl Slots {
    /// Disjoint slots in any order.
    pub(crate) fn new(generation: u64, mut slots: Vec<Slot>) -> Result<Slots, GuestRegionCollectionError> {
        slots.sort_by_key(|slot| slot.range().start);
        // All of them, only to find out whether any two overlap.
        Ram::from_arc_regions(slots.iter().map(|slot| slot.region.clone()).collect())?;
        let ram = slots.iter().filter(|slot| slot.access == Access::Ram).map(|slot| slot.region.clone());
        let ram = Ram::from_arc_regions(ram.collect())?;
        Ok(Slots { generation, slots, ram })
    }

    /// Grows with every change of a VM's memory.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The slots in ascending order of guest-physical address.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The slot with this id.
    pub fn slot(&self, id: SlotId) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.id == id)
    }

    /// Where there is RAM, in ascending order.
    pub fn ram_ranges(&self) -> impl Iterator<Item = GpaRange> + '_ {
        self.slots.iter().filter(|slot| slot.access == Access::Ram).map(Slot::range)
    }

    /// Total RAM in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.ram_ranges().map(|range| range.size_bytes).sum()
    }

    /// The page that holds guest-physical address `gpa`, and what the guest may do there; `None` where there is no memory.
    pub fn page(&self, gpa: u64) -> Option<(Frame<'_>, Access)> {
        let page = gpa & !(PAGE_SIZE - 1);
        let after = self.slots.partition_point(|slot| slot.range().start <= GuestAddress(page));
        let slot = &self.slots[after.checked_sub(1)?];
        let offset = page - slot.range().start.0;
        if offset.checked_add(PAGE_SIZE)? > slot.range().size_bytes {
            return None;
        }
        let start = slot.region.as_ptr().wrapping_add(usize::try_from(offset).ok()?);
        Some((Frame { start: NonNull::new(start)?, _slots: PhantomData }, slot.access))
    }

    /// The page that holds `gpa`, to be read.
    pub fn frame(&self, gpa: u64) -> Option<Frame<'_>> {
        self.page(gpa).map(|(frame, _)| frame)
    }
}

impl Deref for Slots {
    type Target = Ram;

    fn deref(&self) -> &Ram {
        &self.ram
    }
}
