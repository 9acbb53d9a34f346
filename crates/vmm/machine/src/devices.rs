//! Each device made and wired: one function a device, called in order by `assemble`.

use std::sync::Arc;

use arch_model::x86_64::layout;
use chipset::{
    AcpiGed, AcpiPower, DebugExit, ExitStatus, I8042, PORT_B_OFFSET, Pit, PvPanic, Rtc, Serial, SerialOutput,
};
use device_model::{
    Device, EventFd, HostClock, IrqLine, PortIo, PowerSink, ReportSink, Shared, SlotSink, shared,
};
use vm_spec::Chip;
use vm_spec::blueprint::Range;

use crate::bus::Bus;
use crate::error::BuildError;
use crate::functions::Functions;

/// Who hears of what concerns the machine as a whole.
pub struct Sinks {
    /// Requests for its end, and what the host could not do.
    pub power: Arc<dyn PowerSink>,
    /// What the guest tells of itself.
    pub reports: Arc<dyn ReportSink>,
    /// What the guest lets go of.
    pub slots: Arc<dyn SlotSink>,
}

impl Sinks {
    /// One who hears of everything.
    pub fn all_to(one: Arc<impl PowerSink + ReportSink + SlotSink + 'static>) -> Sinks {
        Sinks {
            power: Arc::clone(&one) as Arc<dyn PowerSink>,
            reports: Arc::clone(&one) as Arc<dyn ReportSink>,
            slots: one,
        }
    }
}

/// A machine in the making.
pub(crate) struct Wiring {
    pub(crate) bus: Bus,
    /// The PCI bus itself and the chips, in the order in which they are paused; resumed in reverse.
    pub(crate) chips: Vec<Shared<dyn Device>>,
    /// What is on the PCI bus; paused after the chips.
    pub(crate) functions: Functions,
    sinks: Sinks,
}

/// Chips that are needed again once all are wired.
#[derive(Default)]
pub(crate) struct Chips {
    pub(crate) serial: Option<Shared<Serial>>,
    pub(crate) acpi_events: Option<Shared<AcpiGed>>,
}

impl Wiring {
    pub(crate) fn new(functions: Functions, ecam: Range, sinks: Sinks) -> Wiring {
        let root = functions.root();
        let bus = Bus::new(root.clone(), ecam);
        // The bus is resumed last, when its functions know where they are.
        let chips: Vec<Shared<dyn Device>> = vec![shared(root.clone())];
        Wiring { bus, chips, functions, sinks }
    }

    fn chip<D: Device + PortIo + 'static>(
        &mut self,
        first: u16,
        ports: u16,
        chip: D,
    ) -> Result<Shared<D>, BuildError> {
        let chip = shared(chip);
        self.bus.attach_ports(first, ports, chip.clone())?;
        self.chips.push(chip.clone());
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
        let pit = Pit::new(Arc::new(HostClock::default()), irq).part_of(Arc::clone(&self.sinks.power));
        let pit = self.chip(layout::PIT_PORT, 4, pit)?;
        Ok(self.bus.attach_more_ports(layout::PORT_B, 1, PORT_B_OFFSET, pit)?)
    }

    /// The keyboard controller, for its way to reset.
    pub(crate) fn keyboard(&mut self) -> Result<(), BuildError> {
        let keyboard = self.chip(layout::I8042_PORT, 1, I8042::new(Arc::clone(&self.sinks.power)))?;
        let offset = layout::I8042_COMMAND_PORT - layout::I8042_PORT;
        Ok(self.bus.attach_more_ports(layout::I8042_COMMAND_PORT, 1, offset, keyboard)?)
    }

    /// The way to power off, and the other way to reset.
    pub(crate) fn acpi_power(&mut self) -> Result<(), BuildError> {
        self.chip(layout::ACPI_POWER_PORT, 3, AcpiPower::new(Arc::clone(&self.sinks.power))).map(drop)
    }

    /// The power button, and slots that are filled and emptied.
    pub(crate) fn acpi_events(&mut self, irq: Arc<dyn IrqLine>) -> Result<Shared<AcpiGed>, BuildError> {
        let chip = AcpiGed::new(irq, Arc::clone(&self.sinks.slots));
        self.chip(layout::ACPI_GED_PORT, layout::ACPI_GED_PORTS, chip)
    }

    /// The panic device.
    pub(crate) fn pvpanic(&mut self) -> Result<(), BuildError> {
        self.chip(layout::PVPANIC_PORT, 1, PvPanic::new(Arc::clone(&self.sinks.reports))).map(drop)
    }

    /// The ports on which test guests end the process, from `port` on, as far as there are ports.
    pub(crate) fn debug_exit(&mut self, port: u16) -> Result<(), BuildError> {
        let count = DebugExit::PORTS.min((u16::MAX - port).saturating_add(1));
        self.chip(port, count, DebugExit::new(Arc::clone(&self.sinks.power))).map(drop)
    }

    /// The port that takes the exit status of the command for which the machine is there.
    pub(crate) fn exit_status(&mut self) -> Result<(), BuildError> {
        self.chip(layout::EXIT_STATUS_PORT, 1, ExitStatus::new(Arc::clone(&self.sinks.power))).map(drop)
    }
}
