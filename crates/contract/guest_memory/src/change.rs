//! Slots that come and go while a VM runs.

use std::num::NonZeroU64;
use std::sync::Arc;

use crate::allocate::map_slot;
use crate::slot::{NewSlot, Slot, SlotId};
use crate::{AllocateError, GuestMemory, Slots};

/// A slot that is no longer the guest's. Its mapping goes when nobody uses it any more.
#[derive(Debug)]
pub struct Removed(Slot);

impl Removed {
    /// Whether nobody else has it: no engine, and no device that is in the middle of a request.
    pub fn is_released(&self) -> bool {
        Arc::strong_count(&self.0.region) == 1
    }
}

impl GuestMemory {
    /// Adds a slot. Devices see it at once, vCPUs when their engine has followed (`Vm::follow_memory`).
    ///
    /// # Errors
    /// It overlaps another, is not made of whole pages, or what is to be behind it cannot be mapped.
    pub fn add(&self, slot: &NewSlot) -> Result<SlotId, AllocateError> {
        let mut last_id = self.lock_changes();
        let next = last_id.checked_add(1).ok_or(AllocateError::TooLarge(u64::MAX))?;
        let added = map_slot(slot, SlotId(next))?;
        let now = self.slots();
        let slots = now.slots().iter().cloned().chain([added.clone()]).collect();
        let slots = Slots::new(now.generation() + 1, slots).map_err(AllocateError::Layout)?;
        self.watch_slot(&added);
        self.publish(slots);
        *last_id = next;
        Ok(added.id())
    }

    /// Removes a slot; `None` if there is none with this id. Devices lose it at once, but for requests that have begun; vCPUs when
    /// their engine has followed.
    pub fn remove(&self, id: SlotId) -> Option<Removed> {
        let _changes = self.lock_changes();
        let now = self.slots();
        let removed = now.slot(id)?.clone();
        let left = now.slots().iter().filter(|slot| slot.id() != id).cloned().collect();
        // Fewer of those that were disjoint are disjoint.
        let slots = Slots::new(now.generation() + 1, left).ok()?;
        self.publish(slots);
        Some(Removed(removed))
    }
}

/// Ids of the slots that a VM's memory is made with: from 1 on.
pub(crate) fn first_ids() -> impl Iterator<Item = SlotId> {
    (0u64..).map(|before| SlotId(NonZeroU64::MIN.saturating_add(before)))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;
    use std::ptr::NonNull;

    use super::*;
    use crate::{
        Access, Backing, Bytes as _, FileRange, ForeignMemory, GpaRange, GuestAddress, PAGE_SIZE, Policy,
    };

    const HIGH: GpaRange = GpaRange { start: GuestAddress(0x10_0000), size_bytes: 2 * PAGE_SIZE };

    fn memory() -> GuestMemory {
        let low = GpaRange { start: GuestAddress(0), size_bytes: 0x4000 };
        GuestMemory::allocate(&[low], Policy { huge_pages: false, ..Policy::default() }).unwrap()
    }

    fn slot(access: Access, backing: Backing) -> NewSlot {
        NewSlot { range: HIGH, access, backing }
    }

    fn ram_of(backing: Backing) -> (GuestMemory, SlotId) {
        let memory = memory();
        let id = memory.add(&slot(Access::Ram, backing)).unwrap();
        (memory, id)
    }

    fn filled_file() -> Arc<File> {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[7; 4 * PAGE_SIZE as usize], 0).unwrap();
        Arc::new(file)
    }

    #[test]
    fn a_slot_comes_and_goes_and_whoever_has_begun_keeps_it() {
        let memory = memory();
        let before = memory.snapshot();
        assert!(memory.slots().write_obj(1u8, HIGH.start).is_err());
        let id = memory.add(&slot(Access::Ram, Backing::Anonymous)).unwrap();
        memory.slots().write_obj(0x55u8, HIGH.start).unwrap();
        assert!(memory.slots().generation() > before.generation() && before.frame(HIGH.start.0).is_none());

        let in_use = memory.snapshot();
        let buffers = memory.io_buffers([(HIGH.start, 16)], true).unwrap();
        let removed = memory.remove(id).unwrap();
        assert!(memory.slots().frame(HIGH.start.0).is_none() && memory.remove(id).is_none());
        assert_eq!(in_use.read_obj::<u8>(HIGH.start).unwrap(), 0x55);
        assert!(!removed.is_released());
        drop(in_use);
        assert!(!removed.is_released(), "the host kernel may still write to it");
        drop(buffers);
        assert!(removed.is_released());
        // Never the same again.
        assert_ne!(memory.add(&slot(Access::Ram, Backing::Anonymous)).unwrap(), id);
    }

    #[test]
    fn what_is_wrong_changes_nothing() {
        let memory = memory();
        let at = |start, size_bytes| NewSlot {
            range: GpaRange { start: GuestAddress(start), size_bytes },
            access: Access::Rom,
            backing: Backing::Anonymous,
        };
        for bad in [
            at(0x3000, 0x2000),
            at(0x0, 0x1000),
            at(0x10_0800, 0x1000),
            at(0x10_0000, 0x1800),
            at(0x10_0000, 0),
        ] {
            assert!(memory.add(&bad).is_err(), "{bad:?}");
        }
        assert!(memory.add(&at(0xffff_ffff_ffff_f000, 0x2000)).is_err(), "it would wrap");
        let short = FileRange { file: filled_file(), offset_bytes: 3 * PAGE_SIZE };
        assert!(memory.add(&slot(Access::Ram, Backing::PrivateFile(short))).is_err(), "the file ends before");
        assert_eq!((memory.slots().generation(), memory.slots().slots().len()), (0, 1));
    }

    #[test]
    fn a_rom_is_read_by_vcpus_and_is_nothing_to_devices() {
        let memory = memory();
        let id = memory.add(&slot(Access::Rom, Backing::Anonymous)).unwrap();
        let now = memory.snapshot();
        now.slot(id).unwrap().fill(PAGE_SIZE, b"rom").unwrap();
        assert!(now.slot(id).unwrap().fill(2 * PAGE_SIZE - 1, b"rom").is_err());
        let (frame, access) = now.page(HIGH.start.0 + PAGE_SIZE).unwrap();
        let mut bytes = [0; 3];
        frame.read(0, &mut bytes);
        assert_eq!((&bytes, access), (b"rom", Access::Rom));
        assert!(now.read_obj::<u8>(HIGH.start).is_err() && now.write_obj(1u8, HIGH.start).is_err());
        assert!(memory.io_buffers([(HIGH.start, 1)], false).is_err());
        assert_eq!(now.size_bytes(), 0x4000);
    }

    #[test]
    fn a_private_file_stays_as_it_is_and_a_shared_one_is_written() {
        let file = filled_file();
        let range = FileRange { file: file.clone(), offset_bytes: PAGE_SIZE };
        let (memory, _) = ram_of(Backing::PrivateFile(range.clone()));
        assert_eq!(memory.slots().read_obj::<u8>(HIGH.start).unwrap(), 7);
        memory.slots().write_obj(1u8, HIGH.start).unwrap();
        let byte = |at| {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            byte[0]
        };
        assert_eq!(byte(PAGE_SIZE), 7);
        let (memory, _) = ram_of(Backing::SharedFile(range));
        memory.slots().write_obj(1u8, HIGH.start).unwrap();
        assert_eq!((byte(PAGE_SIZE), byte(PAGE_SIZE + 1)), (1, 7));
    }

    #[test]
    fn foreign_memory_is_used_as_it_is_and_left_mapped() {
        let (owner, _) = ram_of(Backing::Anonymous);
        let address = owner.slots().slots()[1].host_address();
        let start = NonNull::new(address as *mut u8).unwrap();
        // SAFETY: `owner` keeps the mapping beyond all uses below, and nobody has a reference into it.
        let foreign = unsafe { ForeignMemory::new(start) };
        let (memory, id) = ram_of(Backing::Foreign(foreign));
        memory.slots().write_obj(0x77u8, HIGH.start).unwrap();
        assert!(memory.remove(id).unwrap().is_released());
        assert_eq!(owner.slots().read_obj::<u8>(HIGH.start).unwrap(), 0x77);
    }

    #[test]
    fn changes_and_devices_run_into_each_other_and_nothing_is_lost() {
        let memory = memory();
        std::thread::scope(|scope| {
            let device = memory.clone();
            scope.spawn(move || {
                for round in 0..20_000u64 {
                    device.slots().write_obj(round, GuestAddress(0x100)).unwrap();
                    // There or not, never half.
                    let now = device.slots();
                    let _ = now
                        .write_obj(round, HIGH.start)
                        .is_ok_and(|()| now.read_obj::<u64>(HIGH.start).is_ok());
                }
            });
            for _ in 0..500 {
                let id = memory.add(&slot(Access::Ram, Backing::Anonymous)).unwrap();
                memory.remove(id).unwrap();
            }
        });
        assert_eq!(memory.slots().read_obj::<u64>(GuestAddress(0x100)).unwrap(), 19_999);
        assert_eq!(memory.slots().generation(), 1000);
    }
}
