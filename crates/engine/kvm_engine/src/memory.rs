//! Guest RAM as KVM memory slots, and the dirty log (API 4.35, 4.8).

use guest_memory::{DirtyPages, GuestMemory, Region};
use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use vcpu_model::EngineError;

use crate::failed;

/// The slots of a VM: slot `n` is region `n` of its memory.
pub(crate) struct Slots {
    /// Held for as long as the VM may touch it.
    memory: GuestMemory,
}

impl Slots {
    /// Maps every region.
    pub(crate) fn map(vm: &VmFd, memory: &GuestMemory) -> Result<Slots, EngineError> {
        for (slot, region) in memory.regions().enumerate() {
            set_slot(vm, slot, region, 0)?;
        }
        Ok(Slots { memory: memory.clone() })
    }

    /// Turns logging on or off for all slots.
    pub(crate) fn set_logging(&self, vm: &VmFd, on: bool) -> Result<(), EngineError> {
        let flags = if on { KVM_MEM_LOG_DIRTY_PAGES } else { 0 };
        for (slot, region) in self.memory.regions().enumerate() {
            set_slot(vm, slot, region, flags)?;
        }
        Ok(())
    }

    /// What vCPUs wrote since the last call.
    pub(crate) fn take_dirty(&self, vm: &VmFd) -> Result<DirtyPages, EngineError> {
        let mut dirty = DirtyPages::default();
        for (slot, region) in self.memory.regions().enumerate() {
            let size = region.range.size_bytes as usize;
            let words = vm.get_dirty_log(slot as u32, size).map_err(failed("KVM_GET_DIRTY_LOG"))?;
            dirty.push_region(region.range.start.0, words);
        }
        Ok(dirty)
    }
}

fn set_slot(vm: &VmFd, slot: usize, region: Region, flags: u32) -> Result<(), EngineError> {
    let region = kvm_userspace_memory_region {
        slot: slot as u32,
        flags,
        guest_phys_addr: region.range.start.0,
        memory_size: region.range.size_bytes,
        userspace_addr: region.host_address,
    };
    // SAFETY: the region is one live mapping of guest RAM that `Slots` keeps alive as long as the VM.
    unsafe { vm.set_user_memory_region(region) }.map_err(failed("KVM_SET_USER_MEMORY_REGION"))
}
