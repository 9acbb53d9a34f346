//! The I/O APIC (Intel 82093AA data sheet, section 3; version 0x11, which has no EOI register).
//!
//! As in KVM, lines are logical levels: the polarity bit is kept and changes nothing; an edge on a masked pin
//! is lost; a level that is still there when its interrupt ends is sent again.

use arch_model::x86_64::layout::IOAPIC_PINS;
use arch_model::x86_64::{IoApicPin, IoApicState};

use super::message::Message;

const PINS: usize = IOAPIC_PINS as usize;

/// Registers by their offset (82093AA, 3.1).
mod offset {
    /// IOREGSEL.
    pub(super) const SELECT: u64 = 0x00;
    /// IOWIN.
    pub(super) const WINDOW: u64 = 0x10;
}

/// Registers by their index (82093AA, 3.2).
mod index {
    pub(super) const ID: u8 = 0;
    pub(super) const VERSION: u8 = 1;
    pub(super) const ARBITRATION: u8 = 2;
    pub(super) const TABLE: u8 = 0x10;
}

/// Version 0x11, last entry in bits 23:16 (82093AA, 3.2.2).
const VERSION: u32 = (IOAPIC_PINS - 1) << 16 | 0x11;
const ID_SHIFT: u32 = 24;

/// A redirection entry's bits (82093AA, 3.2.4).
mod entry {
    pub(super) const REMOTE_IRR: u64 = 1 << 14;
    pub(super) const LEVEL: u64 = 1 << 15;
    pub(super) const MASKED: u64 = 1 << 16;
    /// What a guest can write: all but reserved bits, delivery status and remote IRR.
    pub(super) const WRITABLE: u64 = 0xff00_0000_0001_afff;
}

/// Sends a message; true if it was for anybody.
pub(crate) type Deliver<'a> = &'a dyn Fn(&Message) -> bool;

/// The controller.
#[derive(Debug)]
pub(crate) struct IoApic {
    id: u8,
    selected: u8,
    /// Levels of the input lines, a bit a pin.
    lines: u32,
    /// Lines whose present level has been sent as an edge.
    delivered: u32,
    table: [u64; PINS],
}

impl IoApic {
    /// After power-on: all pins are masked.
    pub(crate) fn new() -> IoApic {
        IoApic { id: 0, selected: 0, lines: 0, delivered: 0, table: [entry::MASKED; PINS] }
    }

    /// A load from the register at `offset`.
    pub(crate) fn read(&self, offset: u64) -> u32 {
        match offset {
            offset::SELECT => self.selected.into(),
            offset::WINDOW => self.read_selected(),
            _ => 0,
        }
    }

    fn read_selected(&self) -> u32 {
        match self.selected {
            index::ID | index::ARBITRATION => u32::from(self.id) << ID_SHIFT,
            index::VERSION => VERSION,
            _ => match self.selected_entry() {
                Some((pin, high)) => (self.table[pin] >> if high { 32 } else { 0 }) as u32,
                None => u32::MAX,
            },
        }
    }

    /// A store to the register at `offset`.
    pub(crate) fn write(&mut self, offset: u64, value: u32, deliver: Deliver<'_>) {
        match offset {
            offset::SELECT => self.selected = value as u8,
            offset::WINDOW if self.selected == index::ID => self.id = (value >> ID_SHIFT & 0xf) as u8,
            offset::WINDOW => {
                if let Some((pin, high)) = self.selected_entry() {
                    self.write_entry(pin, high, value, deliver);
                }
            }
            _ => {}
        }
    }

    /// Which half of which entry is selected.
    fn selected_entry(&self) -> Option<(usize, bool)> {
        let half = usize::from(self.selected.checked_sub(index::TABLE)?);
        (half / 2 < PINS).then_some((half / 2, half % 2 == 1))
    }

    fn write_entry(&mut self, pin: usize, high: bool, value: u32, deliver: Deliver<'_>) {
        let shift = if high { 32 } else { 0 };
        let writable = 0xffff_ffff << shift & entry::WRITABLE;
        let bits = &mut self.table[pin];
        *bits = *bits & !writable | u64::from(value) << shift & writable;
        // Guests make a pin edge-triggered for a moment to end its interrupt by force.
        if *bits & entry::LEVEL == 0 {
            *bits &= !entry::REMOTE_IRR;
        } else if self.lines >> pin & 1 == 1 {
            self.send(pin, deliver);
        }
    }

    /// Drives the line of `pin`. Pins that do not exist are not connected.
    pub(crate) fn set_line(&mut self, pin: u32, high: bool, deliver: Deliver<'_>) {
        if pin >= IOAPIC_PINS {
            return;
        }
        let bit = 1 << pin;
        let was_high = self.lines & bit != 0;
        if !high {
            self.lines &= !bit;
            return;
        }
        self.lines |= bit;
        let is_edge = self.table[pin as usize] & entry::LEVEL == 0;
        if !(is_edge && was_high) {
            self.delivered &= !bit;
            self.send(pin as usize, deliver);
        }
    }

    /// The interrupt `vector` has ended: what waits at level-triggered pins with this vector is sent again.
    pub(crate) fn end_of_interrupt(&mut self, vector: u8, deliver: Deliver<'_>) {
        for pin in 0..PINS {
            let bits = &mut self.table[pin];
            if *bits as u8 == vector && *bits & entry::LEVEL != 0 {
                *bits &= !entry::REMOTE_IRR;
                if self.lines >> pin & 1 == 1 {
                    self.send(pin, deliver);
                }
            }
        }
    }

    /// Sends the message of `pin` unless it is masked or waits for the end of the last one.
    fn send(&mut self, pin: usize, deliver: Deliver<'_>) {
        let bits = &mut self.table[pin];
        let is_level = *bits & entry::LEVEL != 0;
        if *bits & entry::MASKED != 0 || is_level && *bits & entry::REMOTE_IRR != 0 {
            return;
        }
        let arrived = Message::from_redirection(*bits).is_some_and(|message| deliver(&message));
        if !is_level {
            self.delivered |= 1 << pin;
        } else if arrived {
            *bits |= entry::REMOTE_IRR;
        }
    }

    pub(crate) fn save(&self) -> IoApicState {
        let IoApic { id, selected, lines, delivered, table } = self;
        let edges =
            (0..PINS).filter(|pin| table[*pin] & entry::LEVEL == 0).fold(0, |bits, pin| bits | 1 << pin);
        IoApicState {
            id: *id,
            selected: *selected,
            // Restoring raises these lines, and an edge that has been sent is not to be sent again.
            lines: lines & !(delivered & edges),
            pins: table.iter().map(|bits| IoApicPin(*bits)).collect(),
        }
    }

    /// Takes over `state` and sends what its lines have waiting.
    pub(crate) fn restore(&mut self, state: &IoApicState, deliver: Deliver<'_>) {
        let IoApicState { id, selected, lines, pins } = state;
        *self = IoApic { id: id & 0xf, selected: *selected, ..IoApic::new() };
        for (bits, pin) in self.table.iter_mut().zip(pins) {
            *bits = pin.0;
        }
        for pin in (0..IOAPIC_PINS).filter(|pin| lines >> pin & 1 == 1) {
            self.set_line(pin, true, deliver);
        }
    }
}

#[cfg(test)]
#[path = "ioapic_tests.rs"]
mod tests;
