//! Time as devices see it. Tests move [`fake::FakeClock`](crate::fake::FakeClock) by hand.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of time for devices.
pub trait Clock: Send + Sync {
    /// Time since some fixed point, never going back.
    fn monotonic(&self) -> Duration;

    /// Time since 1970-01-01 00:00 UTC.
    fn realtime(&self) -> Duration;
}

/// The host's clocks.
#[derive(Debug)]
pub struct HostClock {
    start: Instant,
}

impl Default for HostClock {
    fn default() -> Self {
        HostClock { start: Instant::now() }
    }
}

impl Clock for HostClock {
    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn realtime(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}
