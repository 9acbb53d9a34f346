//! The memory windows: accesses to the regions of functions.

use device_model::{Mmio, lock};

use super::routes::Target;
use super::{PciRoot, Window};

impl PciRoot {
    /// The guest's read at guest-physical `address` in a memory window. Where no region answers, or the access
    /// runs over a region's end, it reads all ones.
    pub fn memory_read(&self, address: u64, data: &mut [u8]) {
        let target = self.read_table().routes.find(address, data.len());
        match self.resolve(target) {
            Some((attached, bar, offset)) => lock(&attached.function).bar_read(bar, offset, data),
            None => data.fill(0xff),
        }
    }

    /// The guest's write at guest-physical `address` in a memory window. Dropped where no region answers.
    pub fn memory_write(&self, address: u64, data: &[u8]) {
        let target = self.read_table().routes.find(address, data.len());
        if let Some((attached, bar, offset)) = self.resolve(target) {
            lock(&attached.function).bar_write(bar, offset, data);
        }
    }

    /// One of the [`windows`](PciRoot::windows) as a device on the bus, which counts offsets from its base.
    pub fn window(&self, window: Window) -> PciWindow {
        PciWindow { root: self.clone(), base: window.base }
    }

    fn resolve(&self, target: Target) -> Option<(super::Attached, u8, u64)> {
        match target {
            Target::Region { slot, bar, offset } => Some((self.function(slot)?, bar, offset)),
            Target::Nothing => None,
        }
    }
}

/// A memory window as a device on the bus.
///
/// A bus that puts a lock around its devices serializes the window with it; one that wants vCPUs side by
/// side calls [`PciRoot::memory_read`] and [`PciRoot::memory_write`] itself, or keeps a clone for each.
#[derive(Clone)]
pub struct PciWindow {
    root: PciRoot,
    base: u64,
}

impl Mmio for PciWindow {
    fn mmio_read(&mut self, offset: u64, data: &mut [u8]) {
        match self.base.checked_add(offset) {
            Some(address) => self.root.memory_read(address, data),
            None => data.fill(0xff),
        }
    }

    fn mmio_write(&mut self, offset: u64, data: &[u8]) {
        if let Some(address) = self.base.checked_add(offset) {
            self.root.memory_write(address, data);
        }
    }
}
