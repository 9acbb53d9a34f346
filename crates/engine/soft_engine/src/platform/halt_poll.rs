//! Halt polling: how long a vCPU that has nothing to do looks for requests before it sleeps. Two vCPUs that hand each other work would
//! otherwise pay for a wake-up of the host each time. A vCPU whose waits are long never looks.

use std::sync::atomic::{AtomicU64, Ordering};

/// First and longest time to look, in nanoseconds.
const FIRST_NS: u64 = 10_000;
const LONGEST_NS: u64 = 40_000;
/// Waits up to so many nanoseconds are worth it.
const SHORT_NS: u64 = 60_000;

/// What was learned of past waits. Used by one thread.
#[derive(Debug)]
pub(super) struct HaltPoll {
    look_ns: AtomicU64,
    longest_ns: u64,
}

impl HaltPoll {
    /// Nothing is known yet. Where the host has one processor, whoever looks keeps the others from posting.
    pub(super) fn new() -> HaltPoll {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        HaltPoll::of(if processors > 1 { LONGEST_NS } else { 0 })
    }

    fn of(longest_ns: u64) -> HaltPoll {
        HaltPoll { look_ns: AtomicU64::new(0), longest_ns }
    }

    /// How many nanoseconds to look.
    pub(super) fn look_ns(&self) -> u64 {
        self.look_ns.load(Ordering::Relaxed)
    }

    /// A wait took `waited_ns`, and ended before anybody slept if `found`.
    pub(super) fn learn(&self, waited_ns: u64, found: bool) {
        let look_ns = self.look_ns();
        let next_ns = match (found, waited_ns) {
            (true, _) => look_ns,
            (false, SHORT_NS..) => 0,
            // Looking longest was not enough.
            (false, _) if look_ns == self.longest_ns => 0,
            (false, _) => (look_ns * 2).max(FIRST_NS).min(self.longest_ns),
        };
        self.look_ns.store(next_ns, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_waits_are_looked_through_and_long_ones_slept() {
        let halt_poll = HaltPoll::of(LONGEST_NS);
        let learn = |waited_ns, found| {
            halt_poll.learn(waited_ns, found);
            halt_poll.look_ns()
        };
        assert_eq!(
            [learn(20_000, false), learn(5_000, true), learn(15_000, false)],
            [10_000, 10_000, 20_000]
        );
        assert_eq!([learn(30_000, false), learn(50_000, false)], [LONGEST_NS, 0], "in vain");
        assert_eq!([learn(20_000, false), learn(4_000_000, false)], [10_000, 0]);
    }

    #[test]
    fn one_processor_is_left_to_others() {
        let halt_poll = HaltPoll::of(0);
        halt_poll.learn(20_000, false);
        assert_eq!(halt_poll.look_ns(), 0);
    }
}
