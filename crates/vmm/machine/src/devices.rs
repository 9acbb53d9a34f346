//! Each device made and wired: one function a device, called in order by `build`.

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

use crate::build::BuildError;
use crate::bus::Bus;

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
    next_slot: u8,
}

impl Wiring {
    pub(crate) fn new(
        pci: PciRoot,
        memory: GuestMemory,
        msi: Arc<dyn MsiController>,
        doorbells: Arc<dyn Doorbells>,
        sink: Arc<dyn PowerSink>,
    ) -> Wiring {
        let bus = Bus::new(pci.clone());
        // Slot 0 is the host bridge. The bus is resumed last, when its functions know where they are.
        let devices: Vec<Shared<dyn Device>> = vec![shared(pci.clone())];
        Wiring { bus, pci, devices, memory, msi, doorbells, sink, next_slot: 1 }
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
        self.chip(layout::COM1_PORT, 8, Serial::new("serial0", irq, output, input_room))
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

    /// Both ways to reset, the way to power off, and the power button.
    pub(crate) fn power(&mut self, irq: Arc<dyn IrqLine>) -> Result<Shared<AcpiGed>, BuildError> {
        let power = Arc::clone(&self.sink);
        let keyboard = self.chip(layout::I8042_PORT, 1, I8042::new(Arc::clone(&power)))?;
        let offset = layout::I8042_COMMAND_PORT - layout::I8042_PORT;
        self.bus.attach_more_ports(layout::I8042_COMMAND_PORT, 1, offset, keyboard)?;
        self.chip(layout::ACPI_POWER_PORT, 3, AcpiPower::new(power))?;
        self.chip(layout::ACPI_GED_PORT, 1, AcpiGed::new(irq))
    }

    /// The panic device.
    pub(crate) fn pvpanic(&mut self, sink: Arc<dyn ReportSink>) -> Result<(), BuildError> {
        self.chip(layout::PVPANIC_PORT, 1, PvPanic::new(sink)).map(drop)
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

    /// A virtio device in the next free slot.
    pub(crate) fn virtio(&mut self, id: &str, device: Box<dyn VirtioDevice>) -> Result<(), BuildError> {
        let failed = |source: io::Error| BuildError::Virtio { id: id.to_owned(), source };
        let function =
            VirtioPci::new(id, device, self.memory.clone(), &*self.msi, Arc::clone(&self.doorbells));
        let function = shared(function.map_err(failed)?.part_of(Arc::clone(&self.sink)));
        self.pci.attach(Slot(self.next_slot), function.clone() as Shared<dyn PciFunction>)?;
        self.next_slot += 1;
        self.devices.push(function);
        Ok(())
    }
}
