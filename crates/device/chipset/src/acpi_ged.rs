//! The registers behind the ACPI generic event device (ACPI 6.4, 5.6.9): the power button, PCI slots that are filled
//! or are to be emptied, and a generation id that has changed.
//!
//! | port, from the first | |
//! |---|---|
//! | 0 | events, a bit each; reading clears them |
//! | 4 to 7 | slots that were filled, a bit a slot; reading a byte clears it |
//! | 8 to 11 | slots that are to be emptied, likewise |
//! | 12 to 15 | what the guest lets go of: slots whose bits are written as 1 |
//!
//! The interrupt is level-triggered and stays high until the guest's `_EVT` method reads the events, so what happens
//! before the guest's driver is up is not lost.

use std::sync::Arc;

use device_model::{Device, IrqLine, PortIo, Saved, SlotSink, Snapshot, SnapshotError, decode_state};
use serde::{Deserialize, Serialize};

use crate::ports::{read_bytes, write_bytes};

/// Bit of the event register: the power button was pressed.
pub const EVENT_POWER_BUTTON: u8 = 1 << 0;
/// Bit of the event register: slots were filled, or are to be emptied.
pub const EVENT_SLOTS: u8 = 1 << 1;

/// Bit of the event register: the machine goes on from a snapshot, and its generation id is another.
pub const EVENT_GENERATION: u8 = 1 << 2;

const EVENTS: u8 = EVENT_POWER_BUTTON | EVENT_SLOTS | EVENT_GENERATION;
/// Events that there were up to version 2 of the state.
const EVENTS_V2: u8 = EVENT_POWER_BUTTON | EVENT_SLOTS;

/// Port of the event register, from the first.
const EVENTS_OFFSET: u16 = 0;
/// First port of the slots that were filled.
pub const FILLED_OFFSET: u16 = 4;
/// First port of the slots that are to be emptied.
pub const LEAVING_OFFSET: u16 = 8;
/// First port of the slots that the guest lets go of.
pub const EJECT_OFFSET: u16 = 12;

/// Why a state is refused.
const NO_SUCH_EVENT: &str = "an ACPI event that does not exist is pending";

/// Bits for slots in a byte of a register.
const SLOTS_PER_PORT: u8 = 8;

/// The generic event device.
pub struct AcpiGed {
    events: u8,
    /// Slots of which the guest has not read yet that they were filled.
    filled: [u8; 4],
    /// Slots of which it has not read yet that they are to be emptied.
    leaving: [u8; 4],
    /// Slots that it may let go of: it was asked, and the answer is still wanted.
    unlocked: [u8; 4],
    /// Slots that it has let go of, and nobody has emptied yet.
    ejected: [u8; 4],
    irq: Arc<dyn IrqLine>,
    slots: Arc<dyn SlotSink>,
}

/// Saved state of an [`AcpiGed`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcpiGedState {
    events: u8,
    filled: [u8; 4],
    leaving: [u8; 4],
    unlocked: [u8; 4],
}

/// As version 1 had it.
#[derive(Deserialize)]
struct StateV1 {
    events: u8,
}

impl AcpiGed {
    /// An event device without events. What the guest lets go of, `slots` hears.
    pub fn new(irq: Arc<dyn IrqLine>, slots: Arc<dyn SlotSink>) -> AcpiGed {
        AcpiGed { events: 0, filled: [0; 4], leaving: [0; 4], unlocked: [0; 4], ejected: [0; 4], irq, slots }
    }

    /// Presses the power button. Pressing again before the guest has looked changes nothing.
    pub fn press_power_button(&mut self) {
        self.set_events(self.events | EVENT_POWER_BUTTON);
    }

    /// Tells the guest that its generation id is another than it was.
    pub fn generation_changed(&mut self) {
        self.set_events(self.events | EVENT_GENERATION);
    }

    /// Tells the guest that there is a device in `slot`, which was empty. What it has not read yet of one that was there
    /// before, it still reads: guests are told of what leaves before they are told of what comes.
    pub fn slot_filled(&mut self, slot: u8) {
        set(&mut self.unlocked, slot, false);
        set(&mut self.ejected, slot, false);
        set(&mut self.filled, slot, true);
        self.set_events(self.events | EVENT_SLOTS);
    }

    /// Asks the guest to let go of the device in `slot`. Asking again before it has changes nothing but that it is
    /// told again.
    pub fn ask_to_leave(&mut self, slot: u8) {
        set(&mut self.leaving, slot, true);
        set(&mut self.unlocked, slot, true);
        self.set_events(self.events | EVENT_SLOTS);
    }

    /// Tells the guest that the device in `slot` is gone, for it to let go of what it had there. Its answer is nobody's.
    pub fn slot_emptied(&mut self, slot: u8) {
        set(&mut self.filled, slot, false);
        set(&mut self.unlocked, slot, false);
        set(&mut self.ejected, slot, false);
        set(&mut self.leaving, slot, true);
        self.set_events(self.events | EVENT_SLOTS);
    }

    /// Whether the guest has let go of the device that is in `slot` now; once.
    pub fn take_ejected(&mut self, slot: u8) -> bool {
        let bit = 1 << (slot % SLOTS_PER_PORT);
        let is_ejected =
            self.ejected.get(usize::from(slot / SLOTS_PER_PORT)).is_some_and(|byte| byte & bit != 0);
        set(&mut self.ejected, slot, false);
        is_ejected
    }

    /// The device in `slot` stays: if the guest lets go of it now, nobody listens.
    pub fn lock_slot(&mut self, slot: u8) {
        set(&mut self.leaving, slot, false);
        set(&mut self.unlocked, slot, false);
    }

    fn set_events(&mut self, events: u8) {
        self.events = events;
        self.irq.set_level(events != 0);
    }

    /// What the guest reads at `register`, which clears it.
    fn take(&mut self, register: u16) -> u8 {
        if register == EVENTS_OFFSET {
            let events = self.events;
            if events != 0 {
                self.set_events(0);
            }
            return events;
        }
        match register {
            FILLED_OFFSET..LEAVING_OFFSET => byte_of(&mut self.filled, register, FILLED_OFFSET),
            _ => byte_of(&mut self.leaving, register, LEAVING_OFFSET),
        }
        .map_or(0xff, std::mem::take)
    }

    /// The guest lets go of slots.
    fn eject(&mut self, register: u16, slots: u8) {
        let Some(unlocked) = byte_of(&mut self.unlocked, register, EJECT_OFFSET) else { return };
        let ejected = *unlocked & slots;
        *unlocked &= !slots;
        self.ejected[usize::from(register - EJECT_OFFSET)] |= ejected;
        let first = (register - EJECT_OFFSET) as u8 * SLOTS_PER_PORT;
        for slot in (0..SLOTS_PER_PORT).filter(|slot| ejected >> slot & 1 == 1) {
            self.slots.ejected(first + slot);
        }
    }
}

fn set(slots: &mut [u8; 4], slot: u8, value: bool) {
    let bit = 1 << (slot % SLOTS_PER_PORT);
    if let Some(byte) = slots.get_mut(usize::from(slot / SLOTS_PER_PORT)) {
        *byte = if value { *byte | bit } else { *byte & !bit };
    }
}

fn byte_of(slots: &mut [u8; 4], register: u16, first: u16) -> Option<&mut u8> {
    slots.get_mut(usize::from(register.checked_sub(first)?))
}

impl PortIo for AcpiGed {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        read_bytes(offset, data, |register| self.take(register));
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        write_bytes(offset, data, |register, byte| self.eject(register, byte));
    }
}

impl Device for AcpiGed {
    fn id(&self) -> &str {
        "acpi-ged"
    }

    fn reset(&mut self) {
        (self.filled, self.leaving, self.unlocked, self.ejected) = ([0; 4], [0; 4], [0; 4], [0; 4]);
        self.set_events(0);
    }

    fn pause(&mut self) {}

    fn resume(&mut self) {}
}

impl Snapshot for AcpiGed {
    const VERSION: u32 = 3;
    type State = AcpiGedState;

    fn save(&self) -> Saved<AcpiGedState> {
        // What was let go of is on its way to whoever empties the slot.
        let AcpiGed { events, filled, leaving, unlocked, ejected: _, irq: _, slots: _ } = self;
        let (events, filled, leaving, unlocked) = (*events, *filled, *leaving, *unlocked);
        Saved::State(AcpiGedState { events, filled, leaving, unlocked })
    }

    fn restore(&mut self, state: AcpiGedState) -> Result<(), SnapshotError> {
        let AcpiGedState { events, filled, leaving, unlocked } = state;
        if events & !EVENTS != 0 {
            return Err(SnapshotError::Invalid(NO_SUCH_EVENT));
        }
        (self.filled, self.leaving, self.unlocked) = (filled, leaving, unlocked);
        self.set_events(events);
        Ok(())
    }

    fn read_older(version: u32, bytes: &[u8]) -> Option<Result<AcpiGedState, SnapshotError>> {
        let state = match version {
            1 => decode_state(bytes)
                .map(|StateV1 { events }| AcpiGedState { events, ..AcpiGedState::default() }),
            // As it is now, but for the events that there were.
            2 => decode_state(bytes),
            _ => return None,
        };
        let known = |state: AcpiGedState| match state.events & !EVENTS_V2 {
            0 => Ok(state),
            _ => Err(SnapshotError::Invalid(NO_SUCH_EVENT)),
        };
        Some(state.and_then(known))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use device_model::fake::FakeIrqLine;
    use device_model::{AnySnapshot, lock};

    #[derive(Default)]
    struct Ejected(Mutex<Vec<u8>>);

    impl SlotSink for Ejected {
        fn ejected(&self, slot: u8) {
            lock(&self.0).push(slot);
        }
    }

    fn ged() -> (AcpiGed, Arc<FakeIrqLine>, Arc<Ejected>) {
        let (irq, ejected) = (Arc::new(FakeIrqLine::default()), Arc::new(Ejected::default()));
        (AcpiGed::new(irq.clone(), ejected.clone()), irq, ejected)
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
        let (mut ged, irq, _) = ged();
        ged.press_power_button();
        ged.press_power_button();
        assert!(irq.is_high());
        ged.port_write(EVENTS_OFFSET, &[0]);
        assert_eq!(read(&mut ged), EVENT_POWER_BUTTON);
        assert!(!irq.is_high());
        assert_eq!((read(&mut ged), irq.edges()), (0, 1));
    }

    #[test]
    fn slots_are_told_once_and_given_back_when_they_were_asked_for() {
        let (mut ged, irq, ejected) = ged();
        ged.slot_filled(9);
        ged.slot_filled(31);
        ged.ask_to_leave(3);
        assert!(irq.is_high());
        assert_eq!(read(&mut ged), EVENT_SLOTS);
        assert!(!irq.is_high());
        assert_eq!(
            (read_slots(&mut ged, FILLED_OFFSET), read_slots(&mut ged, LEAVING_OFFSET)),
            (1 << 31 | 1 << 9, 1 << 3)
        );
        assert_eq!((read_slots(&mut ged, FILLED_OFFSET), read_slots(&mut ged, LEAVING_OFFSET)), (0, 0));
        // Of all slots, the one that was asked for, and once.
        for _ in 0..2 {
            ged.port_write(EJECT_OFFSET, &u32::MAX.to_le_bytes());
        }
        assert_eq!(*lock(&ejected.0), [3]);
        // Too late: it stays.
        ged.ask_to_leave(9);
        ged.lock_slot(9);
        assert_eq!(read_slots(&mut ged, LEAVING_OFFSET), 0);
        ged.port_write(EJECT_OFFSET, &(1u32 << 9).to_le_bytes());
        // Another one is in the slot now.
        ged.ask_to_leave(4);
        ged.slot_filled(4);
        ged.port_write(EJECT_OFFSET, &(1u32 << 4).to_le_bytes());
        // Taken out without being asked for, and filled again before the guest has looked: it hears of both.
        ged.slot_emptied(6);
        ged.slot_filled(6);
        ged.port_write(EJECT_OFFSET, &(1u32 << 6).to_le_bytes());
        assert_eq!(
            (read_slots(&mut ged, FILLED_OFFSET), read_slots(&mut ged, LEAVING_OFFSET)),
            (1 << 6 | 1 << 4, 1 << 6 | 1 << 4)
        );
        // There are no such slots.
        ged.ask_to_leave(32);
        ged.slot_filled(255);
        ged.port_write(EJECT_OFFSET + 3, &[0xff, 0xff, 0xff]);
        assert_eq!(*lock(&ejected.0), [3]);
    }

    #[test]
    fn what_is_pending_survives_a_move_but_not_a_reset() {
        let (mut source, ..) = ged();
        source.press_power_button();
        source.slot_filled(7);
        source.ask_to_leave(8);
        source.generation_changed();
        let bytes = source.save_bytes().unwrap().unwrap();
        device_harness::golden::check(concat!(env!("CARGO_MANIFEST_DIR"), "/states/acpi-ged-v3.bin"), &bytes);
        let (mut other, irq, ejected) = ged();
        other.restore_bytes(&bytes).unwrap();
        assert!(irq.is_high());
        assert_eq!(other.save(), source.save());
        other.port_write(EJECT_OFFSET, &(1u32 << 8).to_le_bytes());
        assert_eq!(*lock(&ejected.0), [8]);
        other.reset();
        assert!(!irq.is_high() && read(&mut other) == 0 && read_slots(&mut other, FILLED_OFFSET) == 0);
        assert!(other.restore(AcpiGedState { events: 8, ..AcpiGedState::default() }).is_err());
        crate::ports::tests::hammer(&mut other, |ged, value| match value {
            0 => ged.press_power_button(),
            1 => ged.slot_filled(5),
            2 => ged.ask_to_leave(5),
            3 => ged.slot_emptied(5),
            4 => ged.generation_changed(),
            _ => {}
        });
    }

    #[test]
    fn a_changed_generation_is_told_once() {
        let (mut ged, irq, _) = ged();
        ged.generation_changed();
        ged.press_power_button();
        assert!(irq.is_high());
        assert_eq!(read(&mut ged), EVENT_GENERATION | EVENT_POWER_BUTTON);
        assert!(!irq.is_high() && read(&mut ged) == 0);
    }

    #[test]
    fn states_of_older_versions_are_read_on() {
        let (mut first, irq, _) = ged();
        first.restore_bytes(include_bytes!("../states/acpi-ged-v1.bin")).unwrap();
        assert!(irq.is_high() && read(&mut first) == EVENT_POWER_BUTTON);
        assert_eq!((read_slots(&mut first, FILLED_OFFSET), read_slots(&mut first, LEAVING_OFFSET)), (0, 0));
        let second = include_bytes!("../states/acpi-ged-v2.bin");
        let (mut ged, irq, _) = ged();
        ged.restore_bytes(second).unwrap();
        assert!(irq.is_high() && read(&mut ged) == EVENT_POWER_BUTTON | EVENT_SLOTS);
        assert_eq!(
            (read_slots(&mut ged, FILLED_OFFSET), read_slots(&mut ged, LEAVING_OFFSET)),
            (1 << 7, 1 << 8)
        );
        // An event that no program of that version knew.
        let mut foreign = second.to_vec();
        foreign[1] = EVENT_GENERATION;
        assert!(ged.restore_bytes(&foreign).is_err());
    }
}
