//! Guest memory as KVM memory slots, and the dirty log (API 4.35, 4.8).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use device_model::lock;
use guest_memory::{Access, DirtyPages, GuestMemory, Slot, SlotId, Slots as MemorySlots};
use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, KVM_MEM_READONLY, kvm_userspace_memory_region};
use kvm_ioctls::VmFd;
use vcpu_model::EngineError;

use crate::capabilities::Capabilities;
use crate::failed;

/// The slots of a VM.
pub(crate) struct Slots {
    memory: GuestMemory,
    /// Most that this KVM takes, and whether it has slots that guests may not write.
    limit: usize,
    has_readonly: bool,
    mapped: Mutex<Mapped>,
}

/// What KVM has been told.
struct Mapped {
    /// Held for as long as the VM may touch it.
    slots: Arc<MemorySlots>,
    /// KVM's number of each slot, and its flags.
    numbers: BTreeMap<SlotId, (u32, u32)>,
    logging: bool,
}

impl Slots {
    /// Maps every slot.
    pub(crate) fn map(
        vm: &VmFd,
        capabilities: &Capabilities,
        memory: &GuestMemory,
    ) -> Result<Slots, EngineError> {
        let mapped = Mapped { slots: memory.snapshot(), numbers: BTreeMap::new(), logging: false };
        let slots = Slots {
            memory: memory.clone(),
            limit: capabilities.memory_slots,
            has_readonly: capabilities.readonly_memory,
            mapped: Mutex::new(mapped),
        };
        slots.follow(vm)?;
        Ok(slots)
    }

    /// Tells KVM of slots that have come and gone: of those that are gone first, as new ones may be in their place.
    pub(crate) fn follow(&self, vm: &VmFd) -> Result<(), EngineError> {
        let mut mapped = lock(&self.mapped);
        let now = self.memory.snapshot();
        let gone = mapped.slots.slots().iter().filter(|slot| now.slot(slot.id()).is_none()).cloned();
        for slot in gone.collect::<Vec<_>>() {
            if let Some((number, flags)) = mapped.numbers.get(&slot.id()).copied() {
                unset_slot(vm, number, flags, &slot)?;
                mapped.numbers.remove(&slot.id());
            }
        }
        // What was mapped before is kept until here, and what is mapped from here on.
        mapped.slots = Arc::clone(&now);
        for slot in now.slots() {
            if !mapped.numbers.contains_key(&slot.id()) {
                let number = self.free_number(&mapped)?;
                let flags = self.flags(slot, mapped.logging)?;
                set_slot(vm, number, flags, slot)?;
                mapped.numbers.insert(slot.id(), (number, flags));
            }
        }
        Ok(())
    }

    /// Turns logging on or off for all slots.
    pub(crate) fn set_logging(&self, vm: &VmFd, on: bool) -> Result<(), EngineError> {
        let mut mapped = lock(&self.mapped);
        mapped.logging = on;
        let slots = Arc::clone(&mapped.slots);
        for slot in slots.slots() {
            if let Some((number, flags)) = mapped.numbers.get_mut(&slot.id()) {
                let wanted = self.flags(slot, on)?;
                set_slot(vm, *number, wanted, slot)?;
                *flags = wanted;
            }
        }
        Ok(())
    }

    /// What vCPUs wrote since the last call.
    pub(crate) fn take_dirty(&self, vm: &VmFd) -> Result<DirtyPages, EngineError> {
        let mapped = lock(&self.mapped);
        let mut dirty = DirtyPages::default();
        for slot in mapped.slots.slots() {
            match mapped.numbers.get(&slot.id()) {
                Some((number, flags)) if flags & KVM_MEM_LOG_DIRTY_PAGES != 0 => {
                    let range = slot.range();
                    let words = vm.get_dirty_log(*number, range.size_bytes as usize);
                    dirty.push_region(range.start.0, words.map_err(failed("KVM_GET_DIRTY_LOG"))?);
                }
                _ => {}
            }
        }
        Ok(dirty)
    }

    fn flags(&self, slot: &Slot, logging: bool) -> Result<u32, EngineError> {
        match slot.access() {
            Access::Ram if logging => Ok(KVM_MEM_LOG_DIRTY_PAGES),
            Access::Ram => Ok(0),
            Access::Rom if self.has_readonly => Ok(KVM_MEM_READONLY),
            Access::Rom => Err(EngineError::Unsupported(
                "this host's KVM has no memory that a guest may not write (KVM_CAP_READONLY_MEM)".to_owned(),
            )),
        }
    }

    /// The lowest number that no slot has.
    fn free_number(&self, mapped: &Mapped) -> Result<u32, EngineError> {
        let is_free = |number: &u32| mapped.numbers.values().all(|(taken, _)| taken != number);
        let free = (0..self.limit as u32).find(is_free);
        free.ok_or_else(|| {
            EngineError::Unsupported(format!(
                "this host's KVM takes {} pieces of memory, and no more",
                self.limit
            ))
        })
    }
}

fn set_slot(vm: &VmFd, number: u32, flags: u32, slot: &Slot) -> Result<(), EngineError> {
    tell(vm, number, flags, slot, slot.range().size_bytes)
}

fn unset_slot(vm: &VmFd, number: u32, flags: u32, slot: &Slot) -> Result<(), EngineError> {
    tell(vm, number, flags, slot, 0)
}

fn tell(vm: &VmFd, number: u32, flags: u32, slot: &Slot, size_bytes: u64) -> Result<(), EngineError> {
    let region = kvm_userspace_memory_region {
        slot: number,
        flags,
        guest_phys_addr: slot.range().start.0,
        memory_size: size_bytes,
        userspace_addr: slot.host_address(),
    };
    // SAFETY: the slot is one live mapping, which `Mapped::slots` keeps alive until KVM was told that it is gone.
    unsafe { vm.set_user_memory_region(region) }.map_err(failed("KVM_SET_USER_MEMORY_REGION"))
}
