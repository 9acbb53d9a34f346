//! The local APIC's timer (SDM vol. 3, 11.5.4). Its bus clock is 1 GHz, as KVM's: a nanosecond a tick before
//! the divider. All times are the VM's clock.

use crate::platform::tsc::Tsc;

/// What the timer does when it is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum TimerMode {
    /// Stops.
    #[default]
    OneShot,
    /// Starts again from the initial count.
    Periodic,
    /// Is due when the TSC reaches the deadline, and then has none.
    TscDeadline,
    /// The fourth pattern: never due.
    Reserved,
}

impl TimerMode {
    fn from_bits(bits: u32) -> TimerMode {
        match bits & 3 {
            0 => TimerMode::OneShot,
            1 => TimerMode::Periodic,
            2 => TimerMode::TscDeadline,
            _ => TimerMode::Reserved,
        }
    }

    /// One-shot and periodic share the counter.
    fn counts(self) -> bool {
        matches!(self, TimerMode::OneShot | TimerMode::Periodic)
    }
}

/// Shortest period, as KVM's: a guest cannot make the host do nothing but its timer.
const MIN_PERIOD_NS: u64 = 200_000;

/// The timer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Timer {
    mode: TimerMode,
    initial: u32,
    /// Divide configuration register.
    divide: u32,
    /// When it is due.
    deadline_ns: Option<u64>,
    /// IA32_TSC_DEADLINE.
    tsc_deadline: u64,
}

impl Timer {
    pub(super) fn initial(&self) -> u32 {
        self.initial
    }

    pub(super) fn divide(&self) -> u32 {
        self.divide
    }

    pub(super) fn deadline_ns(&self) -> Option<u64> {
        self.deadline_ns
    }

    pub(super) fn tsc_deadline(&self) -> u64 {
        self.tsc_deadline
    }

    /// Takes over the mode bits of the local vector table. Between counting and the TSC deadline, the timer
    /// is disarmed; between one-shot and periodic, it goes on counting.
    pub(super) fn set_mode(&mut self, bits: u32) {
        let mode = TimerMode::from_bits(bits);
        if mode != self.mode && !(mode.counts() && self.mode.counts()) {
            *self = Timer { divide: self.divide, ..Timer::default() };
        }
        self.mode = mode;
    }

    /// Writes the initial count: the timer counts down from it. Zero stops it.
    pub(super) fn start(&mut self, initial: u32, now_ns: u64) {
        if self.mode.counts() {
            self.initial = initial;
            self.count_from(initial, now_ns);
        }
    }

    /// Sets the divider. The count stays what it is and goes on at the new rate.
    pub(super) fn set_divide(&mut self, divide: u32, now_ns: u64) {
        let current = self.current(now_ns);
        self.divide = divide;
        if self.mode.counts() && self.deadline_ns.is_some() {
            self.count_from(current, now_ns);
        }
    }

    fn count_from(&mut self, count: u32, now_ns: u64) {
        let left_ns = self.nanos(count);
        self.deadline_ns = (count != 0).then(|| now_ns.saturating_add(left_ns));
    }

    /// The current count.
    pub(super) fn current(&self, now_ns: u64) -> u32 {
        let Some(deadline_ns) = self.deadline_ns.filter(|_| self.mode.counts()) else { return 0 };
        let left_ns = match deadline_ns.checked_sub(now_ns) {
            Some(left_ns) => left_ns,
            None if self.mode == TimerMode::OneShot => 0,
            None => {
                let period_ns = self.period_ns();
                period_ns - (now_ns - deadline_ns) % period_ns
            }
        };
        u32::try_from(left_ns.div_ceil(self.divisor())).unwrap_or(u32::MAX).min(self.initial)
    }

    /// Arms the TSC deadline; zero disarms. One that has passed is due at once.
    pub(super) fn set_tsc_deadline(&mut self, value: u64, now_ns: u64, tsc: &Tsc) {
        if self.mode == TimerMode::TscDeadline {
            self.tsc_deadline = value;
            let left_ns = tsc.nanos_until(value, now_ns);
            self.deadline_ns = (value != 0).then(|| now_ns.saturating_add(left_ns));
        }
    }

    /// Whether the timer is due; if so it is armed again or not, as its mode says. Periods that went by
    /// unseen count as one.
    pub(super) fn expire(&mut self, now_ns: u64) -> bool {
        let Some(deadline_ns) = self.deadline_ns.filter(|deadline_ns| *deadline_ns <= now_ns) else {
            return false;
        };
        self.tsc_deadline = 0;
        self.deadline_ns = (self.mode == TimerMode::Periodic && self.initial != 0).then(|| {
            let period_ns = self.period_ns();
            let missed = (now_ns - deadline_ns) / period_ns;
            deadline_ns.saturating_add((missed + 1).saturating_mul(period_ns))
        });
        true
    }

    /// Goes on from a saved state with the current count `current`.
    pub(super) fn restore(mode_bits: u32, initial: u32, current: u32, divide: u32, now_ns: u64) -> Timer {
        let mode = TimerMode::from_bits(mode_bits);
        let mut timer = Timer { mode, divide, ..Timer::default() };
        if mode.counts() {
            timer.initial = initial;
            let whole_period = mode == TimerMode::Periodic && current == 0;
            timer.count_from(if whole_period { initial } else { current }, now_ns);
        }
        timer
    }

    fn period_ns(&self) -> u64 {
        self.nanos(self.initial).max(MIN_PERIOD_NS)
    }

    fn nanos(&self, count: u32) -> u64 {
        u64::from(count) * self.divisor()
    }

    /// Bits 0, 1 and 3 of the divide configuration: 2, 4, ... 128, and 1 for all ones (SDM vol. 3, figure
    /// 11-10).
    fn divisor(&self) -> u64 {
        let code = self.divide & 3 | self.divide >> 1 & 4;
        1 << ((code + 1) & 7)
    }
}

#[cfg(test)]
#[path = "timer_tests.rs"]
mod tests;
