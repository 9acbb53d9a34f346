//! The event register behind the ACPI generic event device (ACPI 6.4, 5.6.9): the power button.
//!
//! The interrupt is level-triggered and stays high until the guest's `_EVT` method reads the register, so a
//! press before the guest's driver is up is not lost.

use std::sync::Arc;

use device_model::{Device, IrqLine, PortIo, Saved, Snapshot, SnapshotError};
use serde::{Deserialize, Serialize};

use crate::ports::read_bytes;

/// Bit of the event register: the power button was pressed.
pub const EVENT_POWER_BUTTON: u8 = 1 << 0;

/// Port of the event register, from the first.
const EVENTS_OFFSET: u16 = 0;

/// The generic event device. One port, whose reading clears it.
pub struct AcpiGed {
    events: u8,
    irq: Arc<dyn IrqLine>,
}

/// Saved state of an [`AcpiGed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcpiGedState {
    events: u8,
}

impl AcpiGed {
    /// An event device without events.
    pub fn new(irq: Arc<dyn IrqLine>) -> AcpiGed {
        AcpiGed { events: 0, irq }
    }

    /// Presses the power button. Pressing again before the guest has looked changes nothing.
    pub fn press_power_button(&mut self) {
        self.set_events(self.events | EVENT_POWER_BUTTON);
    }

    fn set_events(&mut self, events: u8) {
        self.events = events;
        self.irq.set_level(events != 0);
    }
}

impl PortIo for AcpiGed {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        let events = self.events;
        let mut seen = false;
        read_bytes(offset, data, |register| {
            seen |= register == EVENTS_OFFSET;
            if register == EVENTS_OFFSET { events } else { 0xff }
        });
        if seen && events != 0 {
            self.set_events(0);
        }
    }

    fn port_write(&mut self, _offset: u16, _data: &[u8]) {}
}

impl Device for AcpiGed {
    fn id(&self) -> &str {
        "acpi-ged"
    }

    fn reset(&mut self) {
        self.set_events(0);
    }

    fn pause(&mut self) {}

    fn resume(&mut self) {}
}

impl Snapshot for AcpiGed {
    const VERSION: u32 = 1;
    type State = AcpiGedState;

    fn save(&self) -> Saved<AcpiGedState> {
        let AcpiGed { events, irq: _ } = self;
        Saved::State(AcpiGedState { events: *events })
    }

    fn restore(&mut self, state: AcpiGedState) -> Result<(), SnapshotError> {
        if state.events & !EVENT_POWER_BUTTON != 0 {
            return Err(SnapshotError::Invalid("an ACPI event that does not exist is pending"));
        }
        self.set_events(state.events);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use device_model::AnySnapshot;
    use device_model::fake::FakeIrqLine;

    fn read(ged: &mut AcpiGed) -> u8 {
        let mut data = [0];
        ged.port_read(EVENTS_OFFSET, &mut data);
        data[0]
    }

    #[test]
    fn the_line_is_high_until_the_event_is_read() {
        let irq = Arc::new(FakeIrqLine::default());
        let mut ged = AcpiGed::new(irq.clone());
        ged.press_power_button();
        ged.press_power_button();
        assert!(irq.is_high());
        ged.port_write(EVENTS_OFFSET, &[0]);
        assert_eq!(read(&mut ged), EVENT_POWER_BUTTON);
        assert!(!irq.is_high());
        assert_eq!((read(&mut ged), irq.edges()), (0, 1));
    }

    #[test]
    fn a_press_survives_a_move_but_not_a_reset() {
        let mut ged = AcpiGed::new(Arc::new(FakeIrqLine::default()));
        ged.press_power_button();
        device_harness::golden::check(
            concat!(env!("CARGO_MANIFEST_DIR"), "/states/acpi-ged-v1.bin"),
            &ged.save_bytes().unwrap().unwrap(),
        );
        let Saved::State(state) = ged.save() else { panic!("the event device has state") };
        let irq = Arc::new(FakeIrqLine::default());
        let mut other = AcpiGed::new(irq.clone());
        other.restore(state).unwrap();
        assert!(irq.is_high());
        other.reset();
        assert!(!irq.is_high() && read(&mut other) == 0);
        assert!(other.restore(AcpiGedState { events: 2 }).is_err());
        crate::ports::tests::hammer(&mut other, |ged, value| {
            if value == 0 {
                ged.press_power_button();
            }
        });
    }
}
