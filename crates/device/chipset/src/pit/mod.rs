//! Timer with three counters: an Intel 8254 as wired in a PC, and port 0x61, through which software drives and
//! watches counter 2.
//!
//! OUT of counter 0 is an interrupt line, OUT of counter 2 is a bit of port 0x61; the speaker is not there.
//! Counters do not tick: what they show is computed from the time since they were loaded. Only where counter 0
//! is to interrupt, a thread waits for the moment; it is started when a guest asks for that the first time, so
//! that a guest that does not pays nothing. Interrupts whose time passed unseen are delivered as one.
//!
//! Locks: one, around everything that guest and thread share; the interrupt line is driven under it.

mod chip;
mod counter;
mod mode;
mod spec;
#[cfg(test)]
mod tests;
mod thread;
mod ticks;

use std::sync::Arc;

use device_model::{Clock, Device, IrqLine, PortIo, PowerSink, Saved, Snapshot, SnapshotError, lock};
use serde::{Deserialize, Serialize};

use crate::ports::{read_bytes, write_bytes};
use chip::Chip;
use counter::Counter;
use spec::*;
use thread::InterruptThread;
use ticks::Ticks;

/// First of the timer's registers that is in a place of its own on the bus, at port 0x61; before it are the three
/// counters and their control word.
pub const PORT_B_OFFSET: u16 = PORT_B;

/// The timer. Four ports, and port B at [`PORT_B_OFFSET`].
pub struct Pit {
    chip: InterruptThread,
}

/// Saved state of a [`Pit`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PitState {
    /// Times count from the moment of saving.
    counters: [Counter; COUNTERS],
    port_b: u8,
    refresh: bool,
}

impl Pit {
    /// A timer after power-on, running by `clock`, whose counter 0 drives `irq`.
    pub fn new(clock: Arc<dyn Clock>, irq: Arc<dyn IrqLine>) -> Pit {
        Pit { chip: InterruptThread::new(Chip::new(Ticks::new(clock), irq)) }
    }

    /// The same timer, which ends the machine where the host has no thread for it: its guest would wait for ever.
    pub fn part_of(mut self, machine: Arc<dyn PowerSink>) -> Pit {
        self.chip.machine = Some(machine);
        self
    }
}

impl PortIo for Pit {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        let mut chip = lock(self.chip.shared());
        read_bytes(offset, data, |register| chip.read(register));
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        write_bytes(offset, data, |register, value| lock(self.chip.shared()).write(register, value));
        self.chip.follow();
    }
}

impl Device for Pit {
    fn id(&self) -> &str {
        "pit"
    }

    fn reset(&mut self) {
        lock(self.chip.shared()).reset();
        self.chip.follow();
    }

    fn pause(&mut self) {
        lock(self.chip.shared()).ticks.pause();
        self.chip.follow();
    }

    fn resume(&mut self) {
        lock(self.chip.shared()).ticks.resume();
        self.chip.follow();
    }
}

impl Snapshot for Pit {
    const VERSION: u32 = 1;
    type State = PitState;

    fn save(&self) -> Saved<PitState> {
        Saved::State(lock(self.chip.shared()).save())
    }

    fn restore(&mut self, state: PitState) -> Result<(), SnapshotError> {
        if state.port_b & !PORT_B_WRITABLE != 0 {
            return Err(SnapshotError::Invalid("port 0x61 has bits that software cannot set"));
        }
        lock(self.chip.shared()).restore(&state);
        self.chip.follow();
        Ok(())
    }
}
