//! A machine that has been put together.

use std::collections::BTreeMap;
use std::sync::Arc;

use char_backend::InputPump;
use chipset::AcpiGed;
use device_model::{Device, Figures, HELD, Shared, SnapshotError, lock};
use guest_memory::{Bytes, GuestAddress, GuestMemory};
use vm_spec::DeviceId;
use vm_spec::blueprint::PciDevice;
use vm_state::DeviceState;

use crate::backends::Backends;
use crate::bus::Bus;
use crate::devices::Wiring;
use crate::error::{BootError, BuildError};
use crate::functions::Functions;
use crate::generation::GenerationId;

/// RAM, bus and devices. The vCPUs are the runtime's.
pub struct Machine {
    /// From the console to the serial port, if the console has any. Ends before the device that it feeds.
    console_input: Option<InputPump>,
    bus: Arc<Bus>,
    chips: Vec<Shared<dyn Device>>,
    functions: Functions,
    acpi_events: Shared<AcpiGed>,
    /// Where the generation id is, if the machine has one.
    generation_id: Option<GuestAddress>,
}

impl Machine {
    pub(crate) fn new(
        wiring: Wiring,
        acpi_events: Shared<AcpiGed>,
        generation_id: Option<GuestAddress>,
        console_input: Option<InputPump>,
    ) -> Machine {
        let Wiring { bus, chips, functions, .. } = wiring;
        Machine { console_input, bus: Arc::new(bus), chips, functions, acpi_events, generation_id }
    }

    /// Where vCPUs send their accesses.
    pub fn bus(&self) -> &Arc<Bus> {
        &self.bus
    }

    /// The guest's RAM.
    pub fn memory(&self) -> &GuestMemory {
        self.functions.memory()
    }

    /// Presses the power button: what happens then is the guest's decision.
    pub fn press_power_button(&self) {
        lock(&self.acpi_events).press_power_button();
    }

    /// Says which life of the machine this is, before its vCPUs run for the first time. A machine without a generation id
    /// is not told.
    ///
    /// # Errors
    /// There is no RAM where the id is to be.
    pub fn begin_life(&self, id: &GenerationId) -> Result<(), BootError> {
        let Some(address) = self.generation_id else { return Ok(()) };
        self.memory().slots().write_slice(id.as_bytes(), address).map_err(BootError::GenerationId)
    }

    /// The same for a guest that goes on from a snapshot: it is told that this is another life.
    ///
    /// # Errors
    /// There is no RAM where the id is to be.
    pub fn begin_other_life(&self, id: &GenerationId) -> Result<(), BootError> {
        self.begin_life(id)?;
        if self.generation_id.is_some() {
            lock(&self.acpi_events).generation_changed();
        }
        Ok(())
    }

    /// Makes a device, puts it into its slot of the running machine, and tells the guest.
    ///
    /// # Errors
    /// As [`assemble`](Machine::assemble) does; the machine is as it was.
    pub fn attach(&mut self, device: &PciDevice, backends: &Backends) -> Result<(), BuildError> {
        self.functions.attach(device, backends)?;
        lock(&self.acpi_events).slot_filled(device.slot);
        Ok(())
    }

    /// Asks the guest to let go of a disk or card; when it does, the [`SlotSink`](device_model::SlotSink) hears of it.
    /// Whether there is such a disk or card.
    pub fn ask_to_leave(&self, id: &DeviceId) -> bool {
        let slot = self.functions.removable(id);
        slot.inspect(|slot| lock(&self.acpi_events).ask_to_leave(*slot)).is_some()
    }

    /// A disk or card that the guest was asked to let go of stays: if it does so now, nobody hears of it. Whether there is
    /// such a disk or card.
    pub fn keep(&self, id: &DeviceId) -> bool {
        let slot = self.functions.removable(id);
        slot.inspect(|slot| lock(&self.acpi_events).lock_slot(*slot)).is_some()
    }

    /// Takes the disk or card out that the guest has let go of. When this returns, its queues have stopped, and what was
    /// behind it can be released. Its name; nothing if none is in `slot`, or another than the guest has let go of.
    pub fn detach(&mut self, slot: u8) -> Option<DeviceId> {
        let is_ejected = lock(&self.acpi_events).take_ejected(slot);
        if is_ejected { self.functions.detach(slot) } else { None }
    }

    /// Takes a disk or card out whether the guest has let go of it or not, as a person who pulls a plug, and tells the
    /// guest afterwards. Whether there was such a disk or card.
    pub fn pull_out(&mut self, id: &DeviceId) -> bool {
        let Some(slot) = self.functions.removable(id) else { return false };
        let pulled = self.functions.detach(slot);
        lock(&self.acpi_events).slot_emptied(slot);
        pulled.is_some()
    }

    /// In the order in which they are paused.
    fn devices(&self) -> impl DoubleEndedIterator<Item = &Shared<dyn Device>> {
        self.chips.iter().chain(self.functions.devices())
    }

    /// Quiesces all devices: their state stays as it is. vCPUs are stopped before.
    pub fn pause(&self) {
        self.console_input.iter().for_each(InputPump::pause);
        self.devices().for_each(|device| lock(device).pause());
    }

    /// Takes up work again; devices in the opposite order.
    pub fn resume(&self) {
        self.devices().rev().for_each(|device| lock(device).resume());
        self.console_input.iter().for_each(InputPump::resume);
    }

    /// State of all devices of a paused machine.
    pub fn save(&self) -> Result<Vec<DeviceState>, DeviceStateError> {
        let save = |device: &Shared<dyn Device>| {
            let device = lock(device);
            let id = device.id().to_owned();
            match device.save_bytes() {
                Ok(bytes) => Ok(DeviceState { id, bytes }),
                Err(source) => Err(DeviceStateError { id, source }),
            }
        };
        self.devices().map(save).collect()
    }

    /// Gives each device of a freshly built, paused machine the state that was saved under its name. A machine of which a
    /// device refused its state is of no use any more.
    pub fn restore(&self, states: &[DeviceState]) -> Result<(), DeviceStateError> {
        for device in self.devices() {
            let mut device = lock(device);
            let id = device.id().to_owned();
            let state = states.iter().find(|state| state.id == id);
            let missing = SnapshotError::Absent("its state is missing");
            let restored =
                state.ok_or(missing).and_then(|state| device.restore_saved(state.bytes.as_deref()));
            restored.map_err(|source| DeviceStateError { id, source })?;
        }
        self.bus.follow_pci();
        Ok(())
    }

    /// Has the device `id` take notice of what has changed behind it, such as a disk's length, and tell the guest; in a
    /// paused machine when that is resumed. Whether there is such a device.
    pub fn follow_backend(&self, id: &DeviceId) -> bool {
        // One lock at a time, as everywhere.
        let is_it = |device: &&Shared<dyn Device>| lock(device).id() == id.as_str();
        let found = self.devices().find(is_it);
        found.into_iter().for_each(|device| lock(device).follow_backend());
        found.is_some()
    }

    /// Requests of the guest's that the host could not carry out and that wait to be tried again.
    pub fn held_requests(&self) -> u64 {
        let figures = self.devices().flat_map(|device| lock(device).figures());
        figures.filter(|(name, _)| *name == HELD).map(|(_, count)| count).sum()
    }

    /// What devices have done so far, by the devices' ids.
    pub fn figures(&self) -> BTreeMap<String, Figures> {
        let figures = self.devices().map(|device| {
            let device = lock(device);
            (device.id().to_owned(), device.figures())
        });
        figures.filter(|(_, figures)| !figures.is_empty()).collect()
    }
}

/// A device could not be saved or restored.
#[derive(Debug, thiserror::Error)]
#[error("device {id}")]
pub struct DeviceStateError {
    /// Which device.
    pub id: String,
    /// Why.
    pub source: SnapshotError,
}
