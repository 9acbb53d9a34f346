//! Disks and cards that the guest was asked to let go of, and who waits for that.
//!
//! ```text
//!              the guest lets go, the machine is reset, it is pulled out
//! Asked ─────────────────────────────────────────────────────────────────► gone, done
//!   │  time is over, running
//!   ├──────────────────────► the slot is locked again, busy
//!   │  time is over, paused
//!   └──────────────────────► busy, and nobody waits any more; a time anew when the machine goes on
//! ```

use std::time::{Duration, Instant};

use vm_spec::DeviceId;

use crate::control::{Refusal, Reply, ReplySender};

/// Longest time that a guest is given: what clocks can count.
const LIMIT_MAX: Duration = Duration::from_secs(u32::MAX as u64);

/// All that are asked for.
#[derive(Default)]
pub(crate) struct Removals(Vec<Removal>);

/// One that is asked for.
pub(crate) struct Removal {
    pub(crate) id: DeviceId,
    limit: Duration,
    until: Instant,
    waiting: Vec<ReplySender>,
}

impl Removal {
    /// How long the guest had.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// Tells all who wait.
    pub(crate) fn answer(&mut self, answer: &Result<(), Refusal>) {
        for waiting in self.waiting.drain(..) {
            let answer = answer.clone().map(|()| Reply::Done {});
            // Who does not wait any more needs none.
            let _ = waiting.send(answer);
        }
    }
}

impl Removals {
    /// The guest has `limit` from `now` on to let go of `id`; somebody waits for it. Asking again gives the guest the later
    /// of both times, and both wait.
    pub(crate) fn add(&mut self, id: DeviceId, limit: Duration, now: Instant, answer: ReplySender) {
        let limit = limit.min(LIMIT_MAX);
        let until = now + limit;
        match self.0.iter_mut().find(|removal| removal.id == id) {
            Some(removal) => {
                if removal.until < until {
                    (removal.limit, removal.until) = (limit, until);
                }
                // Who went away is not kept: there are as many as there are clients.
                removal.waiting.retain(|waiting| !waiting.is_closed());
                removal.waiting.push(answer);
            }
            None => self.0.push(Removal { id, limit, until, waiting: vec![answer] }),
        }
    }

    /// How long until something is to be done for want of an answer.
    pub(crate) fn wait(&self, now: Instant, is_paused: bool) -> Option<Duration> {
        let counts = |removal: &&Removal| !(is_paused && removal.waiting.is_empty());
        let due = self.0.iter().filter(counts).map(|removal| removal.until).min();
        due.map(|until| until.saturating_duration_since(now))
    }

    /// Those whose time is over.
    pub(crate) fn take_overdue(&mut self, now: Instant) -> Vec<Removal> {
        self.0.extract_if(.., |removal| removal.until <= now).collect()
    }

    /// Those whose time is over; they stay asked for.
    pub(crate) fn overdue(&mut self, now: Instant) -> impl Iterator<Item = &mut Removal> {
        self.0.iter_mut().filter(move |removal| removal.until <= now)
    }

    /// The guest goes on: what ran out while it could do nothing begins anew.
    pub(crate) fn begin_anew(&mut self, now: Instant) {
        self.overdue(now).for_each(|removal| removal.until = now + removal.limit);
    }

    /// The one of this device.
    pub(crate) fn take(&mut self, id: &DeviceId) -> Option<Removal> {
        let index = self.0.iter().position(|removal| removal.id == *id)?;
        Some(self.0.swap_remove(index))
    }

    /// All of them.
    pub(crate) fn take_all(&mut self) -> Vec<Removal> {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use vm_control::FailureClass;

    use super::*;

    fn id(text: &str) -> DeviceId {
        text.parse().unwrap()
    }

    #[test]
    fn each_has_its_time_and_who_asks_twice_waits_for_the_same() {
        let (mut removals, now) = (Removals::default(), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        let asked = |removals: &mut Removals, device: &str, seconds| {
            let (sender, receiver) = oneshot::channel();
            removals.add(id(device), Duration::from_secs(seconds), now, sender);
            receiver
        };
        let wanted = [("a", 10), ("b", 5), ("a", 20), ("a", 1)];
        let mut answers = wanted.map(|(device, seconds)| asked(&mut removals, device, seconds));
        let far = asked(&mut removals, "c", u64::MAX);
        assert_eq!(removals.wait(now, false), Some(Duration::from_secs(5)));
        assert!(removals.take_overdue(after(4)).is_empty());
        let mut over = removals.take_overdue(after(6));
        assert_eq!(over.iter().map(|removal| removal.id.as_str()).collect::<Vec<_>>(), ["b"]);
        over[0].answer(&Err(Refusal { class: FailureClass::Busy, why: "b".to_owned() }));
        assert_eq!(answers[1].try_recv().unwrap().err().unwrap().why, "b");
        assert_eq!(removals.wait(after(6), false), Some(Duration::from_secs(14)));
        removals.take(&id("a")).unwrap().answer(&Ok(()));
        assert!([0, 2, 3].iter().all(|index| answers[*index].try_recv().unwrap().is_ok()));
        assert!(removals.take(&id("a")).is_none());
        // Nobody is there any more: no reason to fail, and nothing to keep.
        drop(far);
        for _ in 0..1000 {
            drop(asked(&mut removals, "c", 7));
        }
        assert_eq!(removals.0[0].waiting.len(), 1);
        removals.take_all()[0].answer(&Ok(()));
        assert_eq!(removals.wait(now, false), None);
    }

    #[test]
    fn a_guest_that_stands_still_is_asked_on() {
        let (mut removals, now) = (Removals::default(), Instant::now());
        let (sender, _receiver) = oneshot::channel();
        removals.add(id("a"), Duration::from_secs(5), now, sender);
        let later = now + Duration::from_secs(60);
        removals.overdue(later).for_each(|removal| removal.answer(&Ok(())));
        assert_eq!(removals.wait(later, true), None, "nobody waits, and nothing is to be done");
        removals.begin_anew(later);
        assert_eq!(removals.wait(later, false), Some(Duration::from_secs(5)));
    }
}
