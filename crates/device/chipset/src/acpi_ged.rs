//! The registers behind the ACPI generic event device (ACPI 6.4, 5.6.9): the power button, and PCI functions that
//! come and go.
//!
//! The interrupt is level-triggered and stays high until the guest's `_EVT` method reads the event register, so
//! what happens before the guest's driver is up is not lost.
//!
//! ```text
//!  offset  0       4..8               8..12                     12..16
//!          events  slots: inserted    slots: asked to be freed  slots: ejected
//!          a bit   a bit a slot       a bit a slot              a bit a slot
//!          r       r                  r                         w
//! ```
//!
//! Reading a byte of the first three clears it: the guest has been told then.

use std::sync::Arc;

use device_model::{Device, EjectSink, IrqLine, PortIo, Saved, Snapshot, SnapshotError};
use serde::{Deserialize, Serialize};

use crate::ports::{read_bytes, write_bytes};

/// Bit of the event register: the power button was pressed.
pub const EVENT_POWER_BUTTON: u8 = 1 << 0;
/// Bit of the event register: look at the registers about slots.
pub const EVENT_PCI_SLOTS: u8 = 1 << 1;

const EVENTS: u8 = EVENT_POWER_BUTTON | EVENT_PCI_SLOTS;

/// Offset of the event register from the first port.
const EVENTS_OFFSET: u16 = 0;
/// Offset of the register of slots with a new function.
const INSERTED_OFFSET: u16 = 4;
/// Offset of the register of slots that the guest is asked to free.
const LEAVING_OFFSET: u16 = 8;
/// Offset of the register by which the guest frees slots.
const EJECT_OFFSET: u16 = 12;
/// Bytes of a register about slots.
const SLOT_BYTES: u16 = 4;

/// The generic event device and its 16 ports.
pub struct AcpiGed {
    events: u8,
    inserted: [u8; 4],
    leaving: [u8; 4],
    irq: Arc<dyn IrqLine>,
    eject: Arc<dyn EjectSink>,
}

/// Saved state of an [`AcpiGed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcpiGedState {
    events: u8,
    inserted: [u8; 4],
    leaving: [u8; 4],
}

impl AcpiGed {
    /// An event device without events. `eject` is told which slots the guest frees, whether it was asked or not.
    pub fn new(irq: Arc<dyn IrqLine>, eject: Arc<dyn EjectSink>) -> AcpiGed {
        AcpiGed { events: 0, inserted: [0; 4], leaving: [0; 4], irq, eject }
    }

    /// Presses the power button. Pressing again before the guest has looked changes nothing.
    pub fn press_power_button(&mut self) {
        self.set_events(self.events | EVENT_POWER_BUTTON);
    }

    /// Tells the guest that `slot` (0 to 31) has a new function.
    pub fn slot_inserted(&mut self, slot: u8) {
        set_bit(&mut self.inserted, slot);
        self.set_events(self.events | EVENT_PCI_SLOTS);
    }

    /// Asks the guest to free `slot` (0 to 31). It does so when it can, or never.
    pub fn ask_to_eject(&mut self, slot: u8) {
        set_bit(&mut self.leaving, slot);
        self.set_events(self.events | EVENT_PCI_SLOTS);
    }

    fn set_events(&mut self, events: u8) {
        self.events = events;
        self.irq.set_level(events != 0);
    }
}

fn set_bit(slots: &mut [u8; 4], slot: u8) {
    if let Some(byte) = slots.get_mut(usize::from(slot / 8)) {
        *byte |= 1 << (slot % 8);
    }
}

/// The byte of a register of slots at `offset`, if it falls there.
fn byte_of(slots: &mut [u8; 4], first: u16, offset: u16) -> Option<&mut u8> {
    slots.get_mut(usize::from(offset.checked_sub(first)?))
}

impl PortIo for AcpiGed {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        let AcpiGed { events, inserted, leaving, .. } = self;
        let pending = *events;
        read_bytes(offset, data, |offset| {
            let register = match offset {
                EVENTS_OFFSET => Some(&mut *events),
                _ => byte_of(inserted, INSERTED_OFFSET, offset)
                    .or_else(|| byte_of(leaving, LEAVING_OFFSET, offset)),
            };
            register.map_or(0xff, std::mem::take)
        });
        if pending != 0 && *events == 0 {
            self.set_events(0);
        }
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        let eject = Arc::clone(&self.eject);
        write_bytes(offset, data, |offset, slots| {
            let Some(byte) = offset.checked_sub(EJECT_OFFSET).filter(|byte| *byte < SLOT_BYTES) else {
                return;
            };
            let first = 8 * byte as u8;
            (0..8).filter(|bit| slots >> bit & 1 == 1).for_each(|bit| eject.eject(first + bit));
        });
    }
}

impl Device for AcpiGed {
    fn id(&self) -> &str {
        "acpi-ged"
    }

    fn reset(&mut self) {
        (self.inserted, self.leaving) = ([0; 4], [0; 4]);
        self.set_events(0);
    }

    fn pause(&mut self) {}

    fn resume(&mut self) {}
}

impl Snapshot for AcpiGed {
    const VERSION: u32 = 2;
    type State = AcpiGedState;

    fn save(&self) -> Saved<AcpiGedState> {
        let AcpiGed { events, inserted, leaving, irq: _, eject: _ } = self;
        Saved::State(AcpiGedState { events: *events, inserted: *inserted, leaving: *leaving })
    }

    fn restore(&mut self, state: AcpiGedState) -> Result<(), SnapshotError> {
        let AcpiGedState { events, inserted, leaving } = state;
        if events & !EVENTS != 0 {
            return Err(SnapshotError::Invalid("an ACPI event that does not exist is pending"));
        }
        (self.inserted, self.leaving) = (inserted, leaving);
        self.set_events(events);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use device_model::fake::{FakeEjectSink, FakeIrqLine};

    fn ged(irq: &Arc<FakeIrqLine>) -> AcpiGed {
        AcpiGed::new(irq.clone(), Arc::new(FakeEjectSink::default()))
    }

    fn read(ged: &mut AcpiGed) -> u8 {
        let mut data = [0];
        ged.port_read(EVENTS_OFFSET, &mut data);
        data[0]
    }

    fn read_slots(ged: &mut AcpiGed, offset: u16) -> u32 {
        let mut data = [0; 4];
        ged.port_read(offset, &mut data);
        u32::from_le_bytes(data)
    }

    #[test]
    fn the_line_is_high_until_the_event_is_read() {
        let irq = Arc::new(FakeIrqLine::default());
        let mut ged = ged(&irq);
        ged.press_power_button();
        ged.press_power_button();
        assert!(irq.is_high());
        ged.port_write(EVENTS_OFFSET, &[0]);
        assert_eq!(read(&mut ged), EVENT_POWER_BUTTON);
        assert!(!irq.is_high());
        assert_eq!((read(&mut ged), irq.edges()), (0, 1));
    }

    #[test]
    fn each_slot_is_told_of_once() {
        let irq = Arc::new(FakeIrqLine::default());
        let mut ged = ged(&irq);
        ged.slot_inserted(3);
        ged.slot_inserted(31);
        ged.ask_to_eject(9);
        assert!(irq.is_high());
        assert_eq!(read(&mut ged), EVENT_PCI_SLOTS);
        assert_eq!(read_slots(&mut ged, INSERTED_OFFSET), 1 << 3 | 1 << 31);
        assert_eq!(read_slots(&mut ged, LEAVING_OFFSET), 1 << 9);
        assert_eq!(read_slots(&mut ged, INSERTED_OFFSET) | read_slots(&mut ged, LEAVING_OFFSET), 0);
        assert!(!irq.is_high());
    }

    #[test]
    fn the_guest_frees_slots_by_any_width() {
        let sink = Arc::new(FakeEjectSink::default());
        let mut ged = AcpiGed::new(Arc::new(FakeIrqLine::default()), sink.clone());
        ged.port_write(EJECT_OFFSET, &(1u32 << 4 | 1 << 30).to_le_bytes());
        ged.port_write(EJECT_OFFSET + 1, &[1]);
        ged.port_write(EJECT_OFFSET + 3, &[0, 0xff]);
        ged.port_write(INSERTED_OFFSET, &[0xff; 4]);
        assert_eq!(sink.ejected(), [4, 30, 8]);
    }

    #[test]
    fn what_is_pending_survives_a_move_but_not_a_reset() {
        let mut first = ged(&Arc::new(FakeIrqLine::default()));
        first.press_power_button();
        first.slot_inserted(5);
        let Saved::State(state) = first.save() else { panic!("the event device has state") };
        let irq = Arc::new(FakeIrqLine::default());
        let mut other = ged(&irq);
        other.restore(state).unwrap();
        assert!(irq.is_high());
        assert_eq!(read_slots(&mut other, INSERTED_OFFSET), 1 << 5);
        other.slot_inserted(6);
        other.reset();
        assert!(!irq.is_high() && read(&mut other) == 0 && read_slots(&mut other, INSERTED_OFFSET) == 0);
        let nonsense = AcpiGedState { events: 4, inserted: [0; 4], leaving: [0; 4] };
        assert!(other.restore(nonsense).is_err());
        crate::ports::tests::hammer(&mut other, |ged, value| match value {
            0 => ged.press_power_button(),
            1..5 => ged.slot_inserted(value * 50),
            5..9 => ged.ask_to_eject(value * 30),
            _ => {}
        });
    }
}
