//! Which region answers at an address.

use super::Slot;

/// A region in the guest-physical space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) slot: Slot,
    pub(super) bar: u8,
    pub(super) address: u64,
    pub(super) size_bytes: u64,
}

/// What lies at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The access lies inside a region.
    Region { slot: Slot, bar: u8, offset: u64 },
    /// No region, or the access runs over the end of one.
    Nothing,
}

/// All regions that are mapped, ordered by slot and register: where the guest lets two overlap, the first
/// wins.
#[derive(Debug, Default)]
pub(super) struct Routes {
    routes: Vec<Route>,
}

impl Routes {
    /// Where region `bar` of `slot` is mapped.
    pub(super) fn address(&self, slot: Slot, bar: u8) -> Option<u64> {
        self.routes.iter().find(|route| (route.slot, route.bar) == (slot, bar)).map(|route| route.address)
    }

    /// Maps region `bar` of `slot` anew, or not at all.
    pub(super) fn set(&mut self, slot: Slot, bar: u8, route: Option<Route>) {
        self.routes.retain(|route| (route.slot, route.bar) != (slot, bar));
        if let Some(route) = route {
            let position = self.routes.partition_point(|other| (other.slot, other.bar) < (slot, bar));
            self.routes.insert(position, route);
        }
    }

    /// Who answers an access of `len` bytes at `address`.
    pub(super) fn find(&self, address: u64, len: usize) -> Target {
        let hit = self.routes.iter().find_map(|route| {
            let offset = address.checked_sub(route.address).filter(|offset| *offset < route.size_bytes)?;
            Some((route, offset))
        });
        match hit {
            Some((route, offset)) if len as u64 <= route.size_bytes - offset => {
                Target::Region { slot: route.slot, bar: route.bar, offset }
            }
            _ => Target::Nothing,
        }
    }
}
