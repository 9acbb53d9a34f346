//! One of the chip's three counters. Time comes in with each call, in pulses of its CLK input.
//!
//! ```text
//!  control word ─► Empty ── count written ─► Counting ◄── GATE ──► Held     (modes 0, 4: GATE stops it)
//!                    │                          ▲
//!                    └─ count written ─► Armed ─┘ GATE rises                (modes 1, 5; 2 and 3 without GATE)
//! ```

use serde::{Deserialize, Serialize};

use super::mode::Mode;
use super::spec::*;

/// Which bytes of a count are written and read (8254 data sheet, figure 7, RW).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Access {
    Low,
    High,
    LowThenHigh,
}

/// How far the counter is. Times are pulses on the caller's axis, and may lie before its zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Progress {
    /// No count since the control word.
    Empty,
    /// A count is there and waits for GATE.
    Armed,
    /// Counts since then.
    Counting { since: i64 },
    /// Stopped by GATE after so many pulses.
    Held { elapsed: u64 },
}

/// The counter; also its saved state, with `Progress` at the time of saving.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counter {
    mode: Mode,
    access: Access,
    bcd: bool,
    gate: bool,
    progress: Progress,
    /// Count register as counted now; zero is the largest count.
    reload: u16,
    /// Written during a period of modes 2 and 3, or before GATE in 1 and 5: counted from the next start on.
    next_reload: Option<u16>,
    /// First byte of a count that is written in two.
    written_low: Option<u8>,
    /// The next read of the count gives its high byte.
    read_high: bool,
    latched_count: Option<u16>,
    latched_status: Option<u8>,
}

impl Counter {
    /// A counter before its first control word, which hardware leaves undefined: mode 0 without a count.
    pub(super) fn new(gate: bool) -> Counter {
        Counter {
            mode: Mode::TerminalCount,
            access: Access::LowThenHigh,
            bcd: false,
            gate,
            progress: Progress::Empty,
            reload: 0,
            next_reload: None,
            written_low: None,
            read_high: false,
            latched_count: None,
            latched_status: None,
        }
    }

    /// The counter as it is at `now`, its times counted from there: what is saved.
    pub(super) fn relative_to(&self, now: i64) -> Counter {
        self.moved(-now)
    }

    /// Undoes [`relative_to`](Counter::relative_to).
    pub(super) fn at(&self, now: i64) -> Counter {
        self.moved(now)
    }

    fn moved(&self, by: i64) -> Counter {
        let progress = match self.progress {
            Progress::Counting { since } => Progress::Counting { since: since.saturating_add(by) },
            other => other,
        };
        Counter { progress, ..self.clone() }
    }

    /// A control word for this counter that is not a latch command.
    pub(super) fn control(&mut self, word: u8) {
        self.access = match word >> ACCESS_SHIFT & ACCESS_MASK {
            1 => Access::Low,
            2 => Access::High,
            _ => Access::LowThenHigh,
        };
        self.mode = Mode::from_bits(word >> MODE_SHIFT & MODE_MASK);
        self.bcd = word & BCD != 0;
        self.progress = Progress::Empty;
        self.next_reload = None;
        self.written_low = None;
        self.read_high = false;
        self.latched_count = None;
        self.latched_status = None;
    }

    /// A byte for the count register.
    pub(super) fn write(&mut self, value: u8, now: i64) {
        match (self.access, self.written_low.take()) {
            (Access::Low, _) => self.load(value.into(), now),
            (Access::High, _) => self.load(u16::from(value) << 8, now),
            (Access::LowThenHigh, None) => {
                self.written_low = Some(value);
                // The first byte stops mode 0 (data sheet, "Mode 0").
                if self.mode == Mode::TerminalCount {
                    self.progress = Progress::Empty;
                }
            }
            (Access::LowThenHigh, Some(low)) => self.load(u16::from_le_bytes([low, value]), now),
        }
    }

    /// A count is whole. It goes to the counting element with the next pulse, or when what runs has ended.
    fn load(&mut self, count: u16, now: i64) {
        let running = matches!(self.progress, Progress::Counting { .. } | Progress::Held { .. });
        if running && (self.mode.is_periodic() || self.mode.waits_for_gate()) {
            self.next_reload = Some(count);
            return;
        }
        self.reload = count;
        self.progress = match (self.mode, self.gate) {
            (mode, _) if mode.waits_for_gate() => Progress::Armed,
            (_, true) => Progress::Counting { since: now + 1 },
            (mode, false) if mode.is_periodic() => Progress::Armed,
            (_, false) => Progress::Held { elapsed: 0 },
        };
    }

    /// Drives the GATE input.
    pub(super) fn set_gate(&mut self, high: bool, now: i64) {
        self.settle(now);
        let rises = high && !self.gate;
        let falls = !high && self.gate;
        self.gate = high;
        let retriggered = self.mode.is_periodic() || self.mode.waits_for_gate();
        self.progress = match self.progress {
            Progress::Empty => Progress::Empty,
            _ if rises && retriggered => {
                self.reload = self.next_reload.take().unwrap_or(self.reload);
                Progress::Counting { since: now + 1 }
            }
            Progress::Held { elapsed } if rises => Progress::Counting { since: now - elapsed as i64 },
            Progress::Counting { .. } if falls && self.mode.is_periodic() => Progress::Armed,
            Progress::Counting { since } if falls && !retriggered => {
                Progress::Held { elapsed: elapsed(since, now) }
            }
            other => other,
        };
    }

    /// Takes over a count that waited for the end of the period, if that has come.
    pub(super) fn settle(&mut self, now: i64) {
        let (Progress::Counting { since }, Some(next)) = (self.progress, self.next_reload) else { return };
        if self.mode.is_periodic() && elapsed(since, now) >= self.n() {
            self.progress = Progress::Counting { since: since + self.n() as i64 };
            self.reload = next;
            self.next_reload = None;
        }
    }

    /// Level of the OUT pin.
    pub(super) fn out(&self, now: i64) -> bool {
        match self.progress {
            Progress::Empty | Progress::Armed => self.mode.idle_out(),
            Progress::Counting { since } if now < since => self.mode.idle_out(),
            Progress::Counting { since } => self.mode.out(self.n(), elapsed(since, now)),
            Progress::Held { elapsed } => self.mode.out(self.n(), elapsed),
        }
    }

    /// Whether OUT rose by itself after `before` and not after `now`.
    pub(super) fn rose(&self, before: i64, now: i64) -> bool {
        let Progress::Counting { since } = self.progress else { return false };
        self.mode.rises(self.n(), elapsed(since, now)) > self.mode.rises(self.n(), elapsed(since, before))
    }

    /// When OUT rises next by itself, after `now`.
    pub(super) fn next_rise(&self, now: i64) -> Option<i64> {
        let Progress::Counting { since } = self.progress else { return None };
        let (n, elapsed) = (self.n(), elapsed(since, now));
        let at = if self.mode.is_periodic() { (elapsed / n + 1) * n } else { self.mode.first_rise(n) };
        let at = since.saturating_add_unsigned(at);
        (at > now).then_some(at)
    }

    /// The counter latch command: the count is kept until it has been read.
    pub(super) fn latch_count(&mut self, now: i64) {
        if self.latched_count.is_none() {
            self.latched_count = Some(self.count(now));
            self.read_high = false;
        }
    }

    /// The read-back command's half that keeps the status until it has been read.
    pub(super) fn latch_status(&mut self, now: i64) {
        if self.latched_status.is_none() {
            self.latched_status = Some(self.status(now));
        }
    }

    fn status(&self, now: i64) -> u8 {
        let access = match self.access {
            Access::Low => 1,
            Access::High => 2,
            Access::LowThenHigh => 3,
        };
        let loaded = match self.progress {
            Progress::Counting { since } => now >= since,
            Progress::Held { .. } => true,
            Progress::Empty | Progress::Armed => false,
        };
        let mut status = access << ACCESS_SHIFT | self.mode.bits() << MODE_SHIFT | u8::from(self.bcd);
        if self.out(now) {
            status |= STATUS_OUT;
        }
        if !loaded || self.next_reload.is_some() {
            status |= STATUS_NULL_COUNT;
        }
        status
    }

    /// A read of the counter's port: what was latched, or the count as it is.
    pub(super) fn read(&mut self, now: i64) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        let [low, high] = self.latched_count.unwrap_or_else(|| self.count(now)).to_le_bytes();
        let (value, is_last) = match self.access {
            Access::Low => (low, true),
            Access::High => (high, true),
            Access::LowThenHigh => (if self.read_high { high } else { low }, self.read_high),
        };
        self.read_high = !is_last;
        if is_last {
            self.latched_count = None;
        }
        value
    }

    /// The counting element as software reads it.
    fn count(&self, now: i64) -> u16 {
        let elapsed = match self.progress {
            Progress::Empty | Progress::Armed => 0,
            Progress::Counting { since } => elapsed(since, now),
            Progress::Held { elapsed } => elapsed,
        };
        let count = self.mode.count(self.n(), elapsed, self.modulus());
        if self.bcd { to_bcd(count) } else { count as u16 }
    }

    /// Pulses of a whole count; zero stands for the largest. A count of 1 is none in modes 2 and 3: there it
    /// stands for 2, the least that makes a wave.
    fn n(&self) -> u64 {
        let n = if self.bcd { from_bcd(self.reload) } else { self.reload.into() };
        match n {
            0 => self.modulus(),
            1 if self.mode.is_periodic() => 2,
            n => n,
        }
    }

    fn modulus(&self) -> u64 {
        if self.bcd { 10_000 } else { 0x1_0000 }
    }
}

/// Pulses since the load; none before the pulse that loads.
fn elapsed(since: i64, now: i64) -> u64 {
    u64::try_from(now.saturating_sub(since)).unwrap_or(0)
}

/// Four decimal digits. A digit above nine counts as what it is worth, as the counting element's carries do.
fn from_bcd(value: u16) -> u64 {
    (0..4).rev().fold(0, |sum, digit| sum * 10 + u64::from(value >> (4 * digit) & 0xf))
}

fn to_bcd(value: u64) -> u16 {
    (0..4).rev().fold(0, |digits, power| digits << 4 | (value / 10u64.pow(power) % 10) as u16)
}
