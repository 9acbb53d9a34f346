//! Counters, interrupt line and time together: what the guest's accesses and the thread share.

use std::sync::Arc;

use device_model::IrqLine;

use super::PitState;
use super::counter::Counter;
use super::spec::*;
use super::ticks::Ticks;

/// The chip without its thread.
pub(super) struct Chip {
    counters: [Counter; COUNTERS],
    /// Port B's bits that software has set.
    port_b: u8,
    refresh: bool,
    pub(super) ticks: Ticks,
    /// Until when the interrupt line follows OUT of counter 0.
    followed_until: i64,
    /// Level that the interrupt line was driven to.
    line: bool,
    irq: Arc<dyn IrqLine>,
}

impl Chip {
    pub(super) fn new(ticks: Ticks, irq: Arc<dyn IrqLine>) -> Chip {
        let followed_until = ticks.now();
        Chip { counters: power_on(), port_b: 0, refresh: false, ticks, followed_until, line: false, irq }
    }

    /// Puts everything but time into its power-on state.
    pub(super) fn reset(&mut self) {
        self.counters = power_on();
        self.port_b = 0;
        self.refresh = false;
        self.follow();
    }

    /// Counters with times that count from now, and port B.
    pub(super) fn save(&self) -> PitState {
        let Chip { counters, port_b, refresh, ticks, followed_until: _, line: _, irq: _ } = self;
        let now = ticks.now();
        PitState {
            counters: counters.each_ref().map(|counter| counter.relative_to(now)),
            port_b: *port_b,
            refresh: *refresh,
        }
    }

    /// Takes over what was saved.
    pub(super) fn restore(&mut self, state: &PitState) {
        let PitState { counters, port_b, refresh } = state;
        let now = self.ticks.now();
        self.counters = counters.each_ref().map(|counter| counter.at(now));
        self.port_b = *port_b;
        self.refresh = *refresh;
        self.followed_until = now;
        // What the interrupt controller has seen of the line is part of its own state.
        self.line = self.counters[INTERRUPT_COUNTER].out(now);
    }

    pub(super) fn read(&mut self, register: u16) -> u8 {
        let now = self.follow();
        match register {
            0..=LAST_COUNTER_PORT => self.counters[usize::from(register)].read(now),
            PORT_B => self.read_port_b(now),
            _ => 0xff,
        }
    }

    pub(super) fn write(&mut self, register: u16, value: u8) {
        let now = self.follow();
        match register {
            0..=LAST_COUNTER_PORT => self.counters[usize::from(register)].write(value, now),
            CONTROL => self.control(value, now),
            PORT_B => {
                self.port_b = value & PORT_B_WRITABLE;
                self.counters[SPEAKER_COUNTER].set_gate(value & PORT_B_GATE != 0, now);
            }
            _ => {}
        }
        self.follow();
    }

    fn read_port_b(&mut self, now: i64) -> u8 {
        self.refresh = !self.refresh;
        let mut value = self.port_b;
        if self.refresh {
            value |= PORT_B_REFRESH;
        }
        if self.counters[SPEAKER_COUNTER].out(now) {
            value |= PORT_B_OUT;
        }
        value
    }

    fn control(&mut self, word: u8, now: i64) {
        if word >> SELECT_SHIFT == READ_BACK {
            let wanted = word >> READ_BACK_FIRST_COUNTER_SHIFT;
            for (index, counter) in self.counters.iter_mut().enumerate() {
                if wanted >> index & 1 == 0 {
                    continue;
                }
                if word & READ_BACK_NO_COUNT == 0 {
                    counter.latch_count(now);
                }
                if word & READ_BACK_NO_STATUS == 0 {
                    counter.latch_status(now);
                }
            }
            return;
        }
        let counter = &mut self.counters[usize::from(word >> SELECT_SHIFT)];
        match word >> ACCESS_SHIFT & ACCESS_MASK {
            0 => counter.latch_count(now),
            _ => counter.control(word),
        }
    }

    /// Brings counters and interrupt line up to now and says when that is. Rises of OUT that nobody was there
    /// to see while they came are one interrupt.
    pub(super) fn follow(&mut self) -> i64 {
        let now = self.ticks.now();
        let rose = self.counters[INTERRUPT_COUNTER].rose(self.followed_until, now);
        self.counters.iter_mut().for_each(|counter| counter.settle(now));
        if rose {
            self.drive(false);
            self.drive(true);
        }
        self.drive(self.counters[INTERRUPT_COUNTER].out(now));
        self.followed_until = now;
        now
    }

    fn drive(&mut self, high: bool) {
        if self.line != high {
            self.line = high;
            self.irq.set_level(high);
        }
    }

    /// When the interrupt line has to rise next, if nothing else happens.
    pub(super) fn next_interrupt(&self) -> Option<i64> {
        if self.ticks.is_paused() {
            return None;
        }
        self.counters[INTERRUPT_COUNTER].next_rise(self.followed_until)
    }
}

/// GATE of counters 0 and 1 is tied high (AT Technical Reference 1-9).
fn power_on() -> [Counter; COUNTERS] {
    std::array::from_fn(|index| Counter::new(index != SPEAKER_COUNTER))
}
