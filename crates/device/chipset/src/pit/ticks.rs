//! The chip's CLK input: pulses made of a clock, which stand still while the machine is paused.

use std::sync::Arc;
use std::time::Duration;

use device_model::Clock;

use super::spec::TICKS_PER_SECOND;

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Pulses since the chip was made, without the time that it was paused.
pub(super) struct Ticks {
    clock: Arc<dyn Clock>,
    /// Taken off the clock's time: before the chip was made, and paused.
    skipped: Duration,
    paused_at: Option<Duration>,
}

impl Ticks {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Ticks {
        let skipped = clock.monotonic();
        Ticks { clock, skipped, paused_at: None }
    }

    /// Pulses so far.
    pub(super) fn now(&self) -> i64 {
        let time = self.paused_at.unwrap_or_else(|| self.clock.monotonic()).saturating_sub(self.skipped);
        let pulses = time.as_nanos() * u128::from(TICKS_PER_SECOND) / NANOS_PER_SECOND;
        i64::try_from(pulses).unwrap_or(i64::MAX)
    }

    /// From now to pulse `at`, rounded up to where it has come for certain.
    pub(super) fn until(&self, at: i64) -> Duration {
        let pulses = u128::try_from(at).unwrap_or(0);
        let nanos = (pulses * NANOS_PER_SECOND).div_ceil(TICKS_PER_SECOND.into());
        let due = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).saturating_add(self.skipped);
        due.saturating_sub(self.clock.monotonic())
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused_at.is_some()
    }

    pub(super) fn pause(&mut self) {
        self.paused_at.get_or_insert(self.clock.monotonic());
    }

    pub(super) fn resume(&mut self) {
        if let Some(at) = self.paused_at.take() {
            self.skipped += self.clock.monotonic().saturating_sub(at);
        }
    }
}
