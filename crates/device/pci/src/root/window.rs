//! The memory windows: accesses to the regions of functions.

use device_model::lock;

use super::PciRoot;
use super::routes::Target;

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

    fn resolve(&self, target: Target) -> Option<(super::Attached, u8, u64)> {
        match target {
            Target::Region { slot, bar, offset } => Some((self.function(slot)?, bar, offset)),
            Target::Nothing => None,
        }
    }
}
