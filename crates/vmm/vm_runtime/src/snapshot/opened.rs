//! A snapshot that a machine is to go on from: read, and believed when all of it goes together.

use std::collections::BTreeSet;
use std::path::Path;

use guest_memory::GuestMemory;
use machine::Machine;
use snapshot_files::Snapshot;
use snapshot_files::ram::{RamIndex, RamLayout};
use vm_spec::DeviceId;
use vm_state::VmState;

use super::SnapshotFailure;

/// A snapshot whose state was checked.
pub(crate) struct Opened {
    pub(crate) snapshot: Snapshot,
    pub(crate) state: VmState,
    index: RamIndex,
}

impl Opened {
    /// Reads the snapshot in `folder`; not its RAM.
    pub(crate) fn open(folder: &Path) -> Result<Opened, SnapshotFailure> {
        let snapshot = Snapshot::at(folder)?;
        snapshot.check()?;
        let state = VmState::from_bytes(&snapshot.state()?)?;
        let index = snapshot.ram_index()?;
        let opened = Opened { snapshot, state, index };
        opened.check()?;
        Ok(opened)
    }

    fn check(&self) -> Result<(), SnapshotFailure> {
        let (record, blueprint) = (&self.snapshot.record, &self.state.blueprint);
        let mixed = |what| Err(SnapshotFailure::Mixed { name: record.id().to_string(), what });
        let ram_bytes = blueprint.memory.ram_bytes();
        if ram_bytes != self.index.layout().size_bytes() || ram_bytes != record.memory_bytes {
            return mixed("its RAM is not as large as its state has it");
        }
        if blueprint.cpus.get() != record.cpus {
            return mixed("its record has another number of vCPUs than its state");
        }
        let described: BTreeSet<&DeviceId> = blueprint.disks().map(|(id, _)| id).collect();
        if !described.into_iter().eq(record.disks.iter().map(|disk| &disk.id).collect::<BTreeSet<_>>()) {
            return mixed("its record has other disks than its state");
        }
        Ok(())
    }

    /// Looks at all of its RAM, before anything is given up for it.
    pub(crate) fn verify(&self) -> Result<(), SnapshotFailure> {
        let reader = self.snapshot.ram(&self.index)?;
        Ok(reader.verify().map_err(|source| self.snapshot.ram_error(source))?)
    }

    /// Its RAM, ready to be run on. The one place that knows how it gets there: by being read, all of it.
    pub(crate) fn ram(&self, merge: bool) -> Result<GuestMemory, SnapshotFailure> {
        let memory = Machine::allocate_ram(&self.state.blueprint.memory, merge)?;
        if RamLayout::of(&memory) != *self.index.layout() {
            let what = "its RAM lies elsewhere than its state has it";
            return Err(SnapshotFailure::Mixed { name: self.snapshot.record.id().to_string(), what });
        }
        let reader = self.snapshot.ram(&self.index)?;
        reader.restore(&memory).map_err(|source| self.snapshot.ram_error(source))?;
        Ok(memory)
    }
}
