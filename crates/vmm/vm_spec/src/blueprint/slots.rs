//! Which device is in which slot of the PCI bus.

use std::collections::BTreeSet;

use super::Blueprint;
use crate::DeviceId;

/// Slot 0 holds the host bridge, and a bus has 32 (PCI Local Bus 3.0, 3.2.2.3.2).
pub(super) const SLOTS: std::ops::Range<u8> = 1..32;

/// The slots of a bus, while they are given away.
pub(super) struct Slots<'b> {
    former: Option<&'b Blueprint>,
    taken: BTreeSet<u8>,
}

impl<'b> Slots<'b> {
    /// A bus on which `kept` have slots already: those that `former` gave them.
    pub(super) fn new<'i>(
        former: Option<&'b Blueprint>,
        kept: impl Iterator<Item = &'i DeviceId>,
    ) -> Slots<'b> {
        let mut slots = Slots { former, taken: BTreeSet::new() };
        slots.taken = kept.filter_map(|id| slots.former_of(id)).collect();
        slots
    }

    fn former_of(&self, id: &DeviceId) -> Option<u8> {
        self.former?.device(id).map(|device| device.slot)
    }

    /// The slot of `id`: its former one; else the next one behind all others, so that guests, which count devices in the
    /// order of slots, count it last; else any that is left.
    pub(super) fn take(&mut self, id: &DeviceId) -> Option<u8> {
        if let Some(slot) = self.former_of(id) {
            return Some(slot);
        }
        let behind = self.taken.last().map_or(SLOTS.start, |last| last + 1);
        let slot = (behind..SLOTS.end).chain(SLOTS).find(|slot| !self.taken.contains(slot))?;
        self.taken.insert(slot);
        Some(slot)
    }
}
