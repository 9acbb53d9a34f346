//! A machine that has been put together.

use std::io;
use std::sync::Arc;

use char_backend::{CharBackend, InputPump};
use chipset::AcpiGed;
use device_model::{Device, EventFd, Shared, SnapshotError, lock};
use guest_memory::GuestMemory;
use serde::{Deserialize, Serialize};

use crate::bus::Bus;
use crate::counters::{Counters, DeviceCounters};
use crate::devices::Wiring;

/// RAM, bus and devices. The vCPUs are the runtime's.
pub struct Machine {
    /// Ends before the devices that it feeds.
    _console: Console,
    memory: GuestMemory,
    bus: Arc<Bus>,
    devices: Vec<Shared<dyn Device>>,
    power_button: Shared<AcpiGed>,
    counters: Counters,
}

/// The thread that moves the console's input to the serial port, if the console has any.
pub(crate) struct Console {
    _pump: Option<InputPump>,
}

impl Console {
    pub(crate) fn start(
        backend: &Arc<dyn CharBackend>,
        room: EventFd,
        take: impl FnMut(&[u8]) -> usize + Send + 'static,
    ) -> io::Result<Console> {
        Ok(Console { _pump: InputPump::start(Arc::clone(backend), room, take)? })
    }
}

/// Saved state of all devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineState {
    /// Devices that have state, by [`Device::id`].
    pub devices: Vec<(String, Vec<u8>)>,
}

impl Machine {
    pub(crate) fn new(
        wiring: Wiring,
        power_button: Shared<AcpiGed>,
        console: Console,
        counters: Counters,
    ) -> Machine {
        let Wiring { bus, devices, memory, .. } = wiring;
        Machine { _console: console, memory, bus: Arc::new(bus), devices, power_button, counters }
    }

    /// Where vCPUs send their accesses.
    pub fn bus(&self) -> &Arc<Bus> {
        &self.bus
    }

    /// The guest's RAM.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// The names of all devices, in the order in which they are saved.
    pub fn ids(&self) -> Vec<String> {
        self.devices.iter().map(|device| lock(device).id().to_owned()).collect()
    }

    /// Presses the power button: what happens then is the guest's decision.
    pub fn press_power_button(&self) {
        lock(&self.power_button).press_power_button();
    }

    /// Quiesces all devices. vCPUs are stopped before.
    pub fn pause(&self) {
        self.devices.iter().for_each(|device| lock(device).pause());
    }

    /// Takes up work again; devices in the opposite order.
    pub fn resume(&self) {
        self.devices.iter().rev().for_each(|device| lock(device).resume());
    }

    /// State of all devices of a paused machine.
    pub fn save(&self) -> Result<MachineState, DeviceStateError> {
        let mut devices = Vec::new();
        for device in &self.devices {
            let device = lock(device);
            let id = device.id().to_owned();
            match device.save_bytes() {
                Ok(Some(bytes)) => devices.push((id, bytes)),
                Ok(None) => {}
                Err(source) => return Err(DeviceStateError { id, source }),
            }
        }
        Ok(MachineState { devices })
    }

    /// Gives each device of a freshly built, paused machine the state that was saved under its name.
    pub fn restore(&self, state: &MachineState) -> Result<(), DeviceStateError> {
        for device in &self.devices {
            let mut device = lock(device);
            let id = device.id().to_owned();
            if let Some((_, bytes)) = state.devices.iter().find(|(name, _)| *name == id) {
                device.restore_bytes(bytes).map_err(|source| DeviceStateError { id, source })?;
            }
        }
        self.bus.follow_pci();
        Ok(())
    }

    /// Requests of the guest's that the host could not carry out and that wait to be tried again.
    pub fn held_requests(&self) -> u64 {
        self.counters.held()
    }

    /// What devices have done so far.
    pub fn counters(&self) -> DeviceCounters {
        self.counters.read()
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
