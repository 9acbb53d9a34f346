//! What firmware does before an operating system runs: give each region an address.

use device_model::{BarKind, BarRegion, PciFunction, lock};

use super::{PciRoot, Slot, Window};
use crate::spec::{BAR0, COMMAND};

/// There was no room for a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for region {bar} ({size_bytes} bytes) of the PCI function at {slot}")]
pub struct AssignError {
    /// The function's slot.
    pub slot: Slot,
    /// Register index of the region.
    pub bar: u8,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// Hands out a window from its start.
struct Cursor {
    window: Window,
    next: u64,
}

impl Cursor {
    fn new(window: Window) -> Cursor {
        Cursor { window, next: window.base }
    }

    fn take(&mut self, size_bytes: u64) -> Option<u64> {
        let start = self.next.checked_next_multiple_of(size_bytes)?;
        self.window.holds(start, size_bytes).then(|| {
            self.next = start + size_bytes;
            start
        })
    }
}

impl PciRoot {
    /// Gives each region of each function an address in the window of its kind and leaves decoding off, which
    /// the guest turns on. Called before boot, and after a reset of all functions.
    pub fn assign_bars(&self) -> Result<(), AssignError> {
        let mut memory32 = Cursor::new(self.bus.windows.memory32);
        let mut memory64 = Cursor::new(self.bus.windows.memory64);
        for attached in self.attached() {
            let mut function = lock(&attached.function);
            function.config_write(COMMAND as u16, &[0, 0]);
            for bar in attached.bars.iter() {
                let cursor = match bar.kind {
                    BarKind::Memory32 => &mut memory32,
                    BarKind::Memory64 => &mut memory64,
                };
                let (slot, size_bytes) = (attached.slot, bar.size_bytes);
                let address =
                    cursor.take(size_bytes).ok_or(AssignError { slot, bar: bar.index, size_bytes })?;
                preset(&mut *function, *bar, address);
            }
            self.follow(&attached, &mut *function);
        }
        Ok(())
    }
}

fn preset(function: &mut dyn PciFunction, bar: BarRegion, address: u64) {
    let register = BAR0 as u16 + 4 * u16::from(bar.index);
    function.config_write(register, &(address as u32).to_le_bytes());
    if bar.kind == BarKind::Memory64 {
        function.config_write(register + 4, &((address >> 32) as u32).to_le_bytes());
    }
}
