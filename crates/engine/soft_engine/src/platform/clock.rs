//! The guest's time.
//!
//! The clock counts nanoseconds since the VM was made, and so does the TSC: 1 GHz, the same for every vCPU,
//! save for the offset that a guest makes by writing it. A guest that is told so (CPUID leaf 0x15, kvmclock)
//! has nothing to calibrate. kvmclock shows the same time with an offset of its own, which a restored VM
//! needs.
//!
//! ```text
//!             hold()                 hold_for_restore()
//!  running ───────────► held, catches up ───────────► held, goes on
//!     ▲                      │ resume(): jumps to now     │ resume(): goes on from where it was held
//!     └──────────────────────┴────────────────────────────┘
//! ```
//!
//! While states are saved or restored, the clock stands still, so that all vCPUs' TSCs are of one moment.
//! Time goes on for a guest that was only looked at; for one that was restored, the time in between does not
//! exist.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arch_model::x86_64::ClockState;
use device_model::{Clock, lock};

/// The VM's clock.
pub(crate) struct GuestClock {
    host: Arc<dyn Clock>,
    /// Added to the host's monotonic time.
    base_ns: AtomicU64,
    /// Where the clock is held, or [`RUNNING`].
    held_ns: AtomicU64,
    /// Added to the clock for what kvmclock shows.
    kvmclock_offset_ns: AtomicU64,
    /// Whether the clock is to go on from where it is held. Guards changes of the other fields.
    goes_on: Mutex<bool>,
}

const RUNNING: u64 = u64::MAX;

impl GuestClock {
    /// A clock that starts at zero now.
    pub(crate) fn new(host: Arc<dyn Clock>) -> GuestClock {
        let base_ns = AtomicU64::new(nanos(host.monotonic()).wrapping_neg());
        GuestClock {
            host,
            base_ns,
            held_ns: AtomicU64::new(RUNNING),
            kvmclock_offset_ns: AtomicU64::new(0),
            goes_on: Mutex::new(false),
        }
    }

    /// Nanoseconds since the VM was made: the TSC of a vCPU with offset 0.
    pub(crate) fn now_ns(&self) -> u64 {
        match self.held_ns.load(Ordering::Acquire) {
            RUNNING => self.running_ns(),
            held_ns => held_ns,
        }
    }

    /// The host's time since 1970, in nanoseconds.
    pub(crate) fn realtime_ns(&self) -> u64 {
        nanos(self.host.realtime())
    }

    /// What kvmclock shows when the clock shows `now_ns`.
    pub(crate) fn kvmclock_ns(&self, now_ns: u64) -> u64 {
        now_ns.wrapping_add(self.kvmclock_offset_ns.load(Ordering::Acquire))
    }

    /// Time since 1970 at which kvmclock showed zero.
    pub(crate) fn kvmclock_start_ns(&self) -> u64 {
        self.realtime_ns().wrapping_sub(self.kvmclock_ns(self.now_ns()))
    }

    /// Stops the clock so that its state and the vCPUs' can be saved. No vCPU runs.
    pub(crate) fn hold(&self) {
        let _goes_on = lock(&self.goes_on);
        self.hold_locked();
    }

    /// Stops the clock so that state that counts from it can be restored. No vCPU runs.
    pub(crate) fn hold_for_restore(&self) {
        let mut goes_on = lock(&self.goes_on);
        self.hold_locked();
        *goes_on = true;
    }

    fn hold_locked(&self) {
        if self.held_ns.load(Ordering::Acquire) == RUNNING {
            self.held_ns.store(self.running_ns(), Ordering::Release);
        }
    }

    /// Lets the clock go on, if it is held. Called whenever a vCPU starts to run.
    pub(crate) fn resume(&self) {
        if self.held_ns.load(Ordering::Acquire) == RUNNING {
            return;
        }
        let mut goes_on = lock(&self.goes_on);
        let held_ns = self.held_ns.load(Ordering::Acquire);
        if held_ns == RUNNING {
            return;
        }
        if std::mem::take(&mut *goes_on) {
            let base_ns = held_ns.wrapping_sub(nanos(self.host.monotonic()));
            self.base_ns.store(base_ns, Ordering::Release);
        }
        self.held_ns.store(RUNNING, Ordering::Release);
    }

    /// Holds the clock and says what kvmclock shows, and what the host's showed when it was held.
    pub(crate) fn save(&self) -> ClockState {
        self.hold();
        let now_ns = self.now_ns();
        let realtime_ns = self.realtime_ns().saturating_sub(self.running_ns().saturating_sub(now_ns));
        ClockState { guest_ns: self.kvmclock_ns(now_ns), host_realtime_ns: Some(realtime_ns) }
    }

    /// Holds the clock and makes kvmclock show what was saved. A state from an engine without a clock is
    /// empty.
    pub(crate) fn restore(&self, state: &ClockState) {
        if *state == ClockState::default() {
            return;
        }
        let ClockState { guest_ns, host_realtime_ns: _ } = *state;
        self.hold_for_restore();
        self.kvmclock_offset_ns.store(guest_ns.wrapping_sub(self.now_ns()), Ordering::Release);
    }

    fn running_ns(&self) -> u64 {
        nanos(self.host.monotonic()).wrapping_add(self.base_ns.load(Ordering::Acquire))
    }
}

fn nanos(time: Duration) -> u64 {
    time.as_secs().wrapping_mul(1_000_000_000).wrapping_add(time.subsec_nanos().into())
}

#[cfg(test)]
mod tests {
    use device_model::fake::FakeClock;

    use super::*;

    fn clock() -> (Arc<FakeClock>, GuestClock) {
        let host = Arc::new(FakeClock::default());
        host.advance(Duration::from_secs(100));
        let clock = GuestClock::new(host.clone());
        (host, clock)
    }

    #[test]
    fn counts_from_the_start() {
        let (host, clock) = clock();
        assert_eq!(clock.now_ns(), 0);
        host.advance(Duration::from_nanos(1_500_000_001));
        assert_eq!((clock.now_ns(), clock.kvmclock_ns(7)), (1_500_000_001, 7));
        assert_eq!(clock.kvmclock_start_ns(), 100_000_000_000);
    }

    #[test]
    fn saving_holds_it_and_then_it_catches_up() {
        let (host, clock) = clock();
        host.advance(Duration::from_nanos(10));
        let state = clock.save();
        assert_eq!(state, ClockState { guest_ns: 10, host_realtime_ns: Some(100_000_000_010) });
        host.advance(Duration::from_nanos(5));
        assert_eq!(clock.now_ns(), 10);
        assert_eq!(clock.save(), state, "saved again: both are of the moment at which it was held");
        clock.resume();
        clock.resume();
        assert_eq!(clock.now_ns(), 15);
    }

    #[test]
    fn a_restored_clock_goes_on_from_where_it_was() {
        let (host, clock) = clock();
        host.advance(Duration::from_nanos(10));
        clock.restore(&ClockState { guest_ns: 5_000, host_realtime_ns: Some(1) });
        host.advance(Duration::from_nanos(50));
        assert_eq!((clock.now_ns(), clock.kvmclock_ns(clock.now_ns())), (10, 5_000));
        clock.resume();
        host.advance(Duration::from_nanos(1));
        assert_eq!((clock.now_ns(), clock.kvmclock_ns(clock.now_ns())), (11, 5_001));
        assert_eq!(clock.save().guest_ns, 5_001);
    }

    #[test]
    fn an_empty_state_changes_nothing() {
        let (host, clock) = clock();
        host.advance(Duration::from_nanos(10));
        clock.restore(&ClockState::default());
        host.advance(Duration::from_nanos(10));
        assert_eq!(clock.now_ns(), 20);
    }

    #[test]
    fn absurd_times_do_no_harm() {
        let (host, clock) = clock();
        clock.restore(&ClockState { guest_ns: u64::MAX, host_realtime_ns: None });
        clock.resume();
        host.advance(Duration::from_nanos(2));
        assert_eq!(clock.kvmclock_ns(clock.now_ns()), 1);
    }
}
