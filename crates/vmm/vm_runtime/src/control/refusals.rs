//! What is done when clients cannot be accepted: the host has no descriptor or memory left for them.
//!
//! ```text
//! accepting ──error──► waiting, 10 ms ──error──► 20 ms … 1 s ──accepted──► accepting
//! ```

use std::time::{Duration, Instant};

/// First wait: those that are being served may free a descriptor.
const FIRST_WAIT: Duration = Duration::from_millis(10);
/// Longest wait. A client waits in the socket's queue meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// How seldom the same is told again.
const QUIET: Duration = Duration::from_secs(60);

/// Errors of accept(2) since the last client.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    in_a_row: u32,
    /// Since it was told last.
    untold: u64,
    told: Option<Instant>,
}

impl Refusals {
    /// Another error. How long to wait before the next attempt, and the errors since this was told last, where it is to be
    /// told now.
    pub(super) fn count(&mut self, now: Instant) -> (Duration, Option<u64>) {
        let wait = FIRST_WAIT.saturating_mul(1 << self.in_a_row.min(16)).min(LONGEST_WAIT);
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.untold += 1;
        let is_due = self.told.is_none_or(|told| now.saturating_duration_since(told) >= QUIET);
        if !is_due {
            return (wait, None);
        }
        self.told = Some(now);
        (wait, Some(std::mem::take(&mut self.untold)))
    }

    /// A client was accepted.
    pub(super) fn end(&mut self) {
        self.in_a_row = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_little_is_told() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        let mut now = start;
        let mut told = Vec::new();
        let mut waits = Vec::new();
        while now - start < Duration::from_secs(150) {
            let (wait, count) = refusals.count(now);
            told.extend(count);
            waits.push(wait);
            now += wait;
        }
        assert_eq!(waits[..4], [10, 20, 40, 80].map(Duration::from_millis));
        assert_eq!(waits.last(), Some(&LONGEST_WAIT));
        assert!(waits.len() < 170, "{} attempts in 150 s", waits.len());
        assert_eq!((told.len(), told[0]), (3, 1), "{told:?}");
        // A client that comes through now and then is no reason to tell more.
        refusals.end();
        assert_eq!(refusals.count(now), (FIRST_WAIT, None));
    }
}
