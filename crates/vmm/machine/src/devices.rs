//! Each device made and wired: one function a device, called in order by `assemble`.

use std::io;
use std::sync::Arc;

use arch_model::x86_64::layout;
use chipset::{
    AcpiGed, AcpiPower, DebugExit, ExitStatus, I8042, PORT_B_OFFSET, Pit, PvPanic, Rtc, Serial, SerialOutput,
};
use device_model::{
    Device, Doorbells, EventFd, HostClock, IrqLine, MsiController, PciFunction, PortIo, PowerSink,
    ReportSink, Shared, shared,
};
use guest_memory::GuestMemory;
use pci::{PciRoot, Slot};
use virtio_core::{VirtioDevice, VirtioPci};
use vm_spec::blueprint::Range;
use vm_spec::{Chip, DeviceId};

use crate::bus::Bus;
use crate::error::BuildError;

/// A machine in the making.
pub(crate) struct Wiring {
    pub(crate) bus: Bus,
    pub(crate) pci: PciRoot,
    /// In the order in which they are paused; resumed in reverse.
    pub(crate) devices: Vec<Shared<dyn Device>>,
    pub(crate) memory: GuestMemory,
    pub(crate) msi: Arc<dyn MsiController>,
    pub(crate) doorbells: Arc<dyn Doorbells>,
    /// Told of what concerns the machine as a whole.
    pub(crate) sink: Arc<dyn PowerSink>,
    /// Told what the guest tells of itself.
    reports: Arc<dyn ReportSink>,
}

/// Chips that are needed again once all are wired.
#[derive(Default)]
pub(crate) struct Chips {
    pub(crate) serial: Option<Shared<Serial>>,
    pub(crate) power_button: Option<Shared<AcpiGed>>,
}

impl Wiring {
    pub(crate) fn new(
        (pci, ecam): (PciRoot, Range),
        memory: GuestMemory,
        msi: Arc<dyn MsiController>,
        doorbells: Arc<dyn Doorbells>,
        (sink, reports): (Arc<dyn PowerSink>, Arc<dyn ReportSink>),
    ) -> Wiring {
        let bus = Bus::new(pci.clone(), ecam);
        // The bus is resumed last, when its functions know where they are.
        let devices: Vec<Shared<dyn Device>> = vec![shared(pci.clone())];
        Wiring { bus, pci, devices, memory, msi, doorbells, sink, reports }
    }

    fn chip<D: Device + PortIo + 'static>(
        &mut self,
        first: u16,
        ports: u16,
        chip: D,
    ) -> Result<Shared<D>, BuildError> {
        let chip = shared(chip);
        self.bus.attach_ports(first, ports, chip.clone())?;
        self.devices.push(chip.clone());
        Ok(chip)
    }

    /// COM1.
    pub(crate) fn serial(
        &mut self,
        irq: Arc<dyn IrqLine>,
        output: SerialOutput,
        input_room: Option<EventFd>,
    ) -> Result<Shared<Serial>, BuildError> {
        self.chip(layout::COM1_PORT, 8, Serial::new(Chip::Serial.id(), irq, output, input_room))
    }

    /// The real-time clock.
    pub(crate) fn rtc(&mut self) -> Result<(), BuildError> {
        self.chip(layout::RTC_PORT, 2, Rtc::new(Arc::new(HostClock::default()))).map(drop)
    }

    /// The timer, and port B beside it.
    pub(crate) fn pit(&mut self, irq: Arc<dyn IrqLine>) -> Result<(), BuildError> {
        let pit = Pit::new(Arc::new(HostClock::default()), irq).part_of(Arc::clone(&self.sink));
        let pit = self.chip(layout::PIT_PORT, 4, pit)?;
        Ok(self.bus.attach_more_ports(layout::PORT_B, 1, PORT_B_OFFSET, pit)?)
    }

    /// The keyboard controller, for its way to reset.
    pub(crate) fn keyboard(&mut self) -> Result<(), BuildError> {
        let keyboard = self.chip(layout::I8042_PORT, 1, I8042::new(Arc::clone(&self.sink)))?;
        let offset = layout::I8042_COMMAND_PORT - layout::I8042_PORT;
        Ok(self.bus.attach_more_ports(layout::I8042_COMMAND_PORT, 1, offset, keyboard)?)
    }

    /// The way to power off, and the other way to reset.
    pub(crate) fn acpi_power(&mut self) -> Result<(), BuildError> {
        self.chip(layout::ACPI_POWER_PORT, 3, AcpiPower::new(Arc::clone(&self.sink))).map(drop)
    }

    /// The power button.
    pub(crate) fn acpi_events(&mut self, irq: Arc<dyn IrqLine>) -> Result<Shared<AcpiGed>, BuildError> {
        self.chip(layout::ACPI_GED_PORT, 1, AcpiGed::new(irq))
    }

    /// The panic device.
    pub(crate) fn pvpanic(&mut self) -> Result<(), BuildError> {
        self.chip(layout::PVPANIC_PORT, 1, PvPanic::new(Arc::clone(&self.reports))).map(drop)
    }

    /// The ports on which test guests end the process, from `port` on, as far as there are ports.
    pub(crate) fn debug_exit(&mut self, port: u16) -> Result<(), BuildError> {
        let count = DebugExit::PORTS.min((u16::MAX - port).saturating_add(1));
        self.chip(port, count, DebugExit::new(Arc::clone(&self.sink))).map(drop)
    }

    /// The port that takes the exit status of the command for which the machine is there.
    pub(crate) fn exit_status(&mut self) -> Result<(), BuildError> {
        self.chip(layout::EXIT_STATUS_PORT, 1, ExitStatus::new(Arc::clone(&self.sink))).map(drop)
    }

    /// A virtio device in its slot.
    pub(crate) fn virtio(
        &mut self,
        id: &DeviceId,
        slot: u8,
        device: Box<dyn VirtioDevice>,
    ) -> Result<(), BuildError> {
        let failed = |source: io::Error| BuildError::Virtio { id: id.clone(), source };
        let function =
            VirtioPci::new(id.as_str(), device, self.memory.clone(), &*self.msi, Arc::clone(&self.doorbells));
        let function = shared(function.map_err(failed)?.part_of(Arc::clone(&self.sink)));
        self.pci.attach(Slot(slot), function.clone() as Shared<dyn PciFunction>)?;
        self.devices.push(function);
        Ok(())
    }
}
