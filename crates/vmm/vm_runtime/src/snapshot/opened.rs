//! A snapshot that a machine is to go on from: read, and believed when all of it goes together.

use std::path::Path;

use guest_memory::GuestMemory;
use machine::Machine;
use snapshot_files::{Chain, Snapshot};
use vm_state::VmState;

use super::SnapshotFailure;

/// A snapshot that was [verified](Snapshot::verify), and whose parts go together.
pub(crate) struct Opened {
    pub(crate) snapshot: Snapshot,
    pub(crate) state: VmState,
}

impl Opened {
    /// Reads the verified snapshot in `folder`; not its RAM.
    pub(crate) fn open(folder: &Path) -> Result<Opened, SnapshotFailure> {
        Opened::of(Snapshot::at(folder)?)
    }

    /// Looks at all of the snapshot in `folder`, and reads it but for its RAM.
    pub(crate) fn verify(folder: &Path) -> Result<Opened, SnapshotFailure> {
        let snapshot = Snapshot::at(folder)?;
        snapshot.verify()?;
        Opened::of(snapshot)
    }

    fn of(snapshot: Snapshot) -> Result<Opened, SnapshotFailure> {
        let state = VmState::from_bytes(&snapshot.state()?)?;
        snapshot.check_machine(&state.blueprint, &snapshot.ram_index()?)?;
        Ok(Opened { snapshot, state })
    }

    /// Its RAM, ready to be run on: mapped, so that a page is read when it is used, and is shared with whoever else goes on
    /// from this snapshot until it is written. Compressed RAM has to be read, all of it; and so has what differs from a
    /// snapshot that this one builds upon, which is laid over that.
    pub(crate) fn ram(&self, merge: bool) -> Result<GuestMemory, SnapshotFailure> {
        let map = &self.state.blueprint.memory;
        let Chain { whole, differences } = self.snapshot.chain()?;
        let index = whole.ram_index()?;
        let memory = match whole.ram(&index)?.mappable() {
            Ok(file) => Machine::map_ram(map, file, merge)?,
            Err(reader) => {
                let memory = Machine::allocate_ram(map, merge)?;
                reader.restore(&memory).map_err(|source| whole.ram_error(source))?;
                memory
            }
        };
        for difference in differences {
            let index = difference.ram_index()?;
            let restored = difference.ram(&index)?.restore(&memory);
            restored.map_err(|source| difference.ram_error(source))?;
        }
        Ok(memory)
    }
}
