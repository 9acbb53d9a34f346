//! One vCPU executes an instruction while all others of its VM stand still: for locked accesses that no host instruction
//! does at once.
//!
//! ```text
//!              enter                    run_alone
//!   outside ──────────► executing ───────────────────► waits ──► alone ──┐
//!      ▲                 │ ▲   ▲ │                  (counts as outside)  │
//!      └──── leave ──────┘ │   │ └─ asked ─► stand_still (outside)       │
//!                          └───┴─────────────────────────────────────────┘
//! ```
//!
//! Who wants to be alone asks those who execute to stand still, and waits until they do. They look between units of
//! translated code and between blocks, where they hold no lock and are in the middle of no access: what they have stored is
//! seen by then, as they have taken a lock since. vCPUs that sleep or are stopped are not woken; they wait when they come
//! back. Two that want to be alone at once have both done nothing of their instructions yet, and go one after the other.
//! Those who waited get to execute before the next is alone, so that nobody waits for ever.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use device_model::lock;

use super::{Platform, Request};

/// Which vCPUs execute guest code, and whether one is alone.
#[derive(Debug)]
struct State {
    executing: Vec<bool>,
    alone: bool,
    /// vCPUs that wait because another is alone.
    entering: usize,
}

/// Who may execute now.
#[derive(Debug)]
pub(crate) struct Exclusive {
    /// There are others that may execute at the same time.
    is_needed: bool,
    state: Mutex<State>,
    changed: Condvar,
}

impl Exclusive {
    /// For a VM with `vcpus`, none of which executes yet. `in_turn`: they execute one at a time anyway.
    pub(crate) fn new(vcpus: usize, in_turn: bool) -> Exclusive {
        let state = State { executing: vec![false; vcpus], alone: false, entering: 0 };
        Exclusive { is_needed: vcpus > 1 && !in_turn, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// vCPU `index` begins to execute guest code: waits until nobody is alone.
    pub(crate) fn enter(&self, index: usize) {
        if self.is_needed {
            self.come_back(lock(&self.state), index);
        }
    }

    /// vCPU `index` executes no guest code until it [enters](Exclusive::enter) again.
    pub(crate) fn leave(&self, index: usize) {
        if self.is_needed {
            drop(self.step_out(index));
        }
    }

    /// Lets others be alone that have asked for it. Nothing if vCPU `index` does not execute guest code.
    pub(crate) fn stand_still(&self, index: usize) {
        let state = lock(&self.state);
        if state.executing[index] {
            drop(state);
            self.come_back(self.step_out(index), index);
        }
    }

    /// Does `work`, part of an instruction of vCPU `index` that executes, while no other executes any.
    pub(crate) fn run_alone<R>(&self, index: usize, platform: &Platform, work: impl FnOnce() -> R) -> R {
        let ask = |other| platform.mailbox(other).post(Request::STAND_STILL);
        self.run_asking(index, ask, work)
    }

    fn run_asking<R>(&self, index: usize, ask: impl Fn(usize), work: impl FnOnce() -> R) -> R {
        if !self.is_needed {
            return work();
        }
        let mut state = self.step_out(index);
        while state.alone || state.entering > 0 {
            state = self.wait(state);
        }
        state.alone = true;
        state
            .executing
            .iter()
            .enumerate()
            .filter(|(_, executes)| **executes)
            .for_each(|(other, _)| ask(other));
        while state.executing.contains(&true) {
            state = self.wait(state);
        }
        drop(state);
        let result = work();
        let mut state = lock(&self.state);
        state.alone = false;
        state.executing[index] = true;
        self.changed.notify_all();
        result
    }

    fn step_out(&self, index: usize) -> MutexGuard<'_, State> {
        let mut state = lock(&self.state);
        state.executing[index] = false;
        self.changed.notify_all();
        state
    }

    fn come_back(&self, mut state: MutexGuard<'_, State>, index: usize) {
        if state.alone {
            state.entering += 1;
            while state.alone {
                state = self.wait(state);
            }
            state.entering -= 1;
            self.changed.notify_all();
        }
        state.executing[index] = true;
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;

    const VCPUS: usize = 4;
    const ROUNDS: u32 = 500;

    /// Each vCPU executes, is alone, sleeps and stands still in turn; whoever is alone finds nobody executing.
    #[test]
    fn whoever_is_alone_is_so() {
        let exclusive = Exclusive::new(VCPUS, false);
        let asked: [AtomicBool; VCPUS] = Default::default();
        let (executing, alone) = (AtomicU32::new(0), AtomicU32::new(0));
        let one = |index: usize| {
            exclusive.enter(index);
            for round in 0..ROUNDS {
                executing.fetch_add(1, Ordering::SeqCst);
                std::hint::spin_loop();
                executing.fetch_sub(1, Ordering::SeqCst);
                if asked[index].swap(false, Ordering::SeqCst) {
                    exclusive.stand_still(index);
                }
                match round as usize % 7 {
                    0 => exclusive.run_asking(
                        index,
                        |other| asked[other].store(true, Ordering::SeqCst),
                        || {
                            assert_eq!(executing.load(Ordering::SeqCst), 0);
                            alone.fetch_add(1, Ordering::SeqCst);
                        },
                    ),
                    place if place == index + 1 => {
                        exclusive.leave(index);
                        exclusive.stand_still(index);
                        exclusive.enter(index);
                    }
                    _ => {}
                }
            }
            exclusive.leave(index);
        };
        std::thread::scope(|scope| {
            (0..VCPUS).for_each(|index| drop(scope.spawn(move || one(index))));
        });
        assert_eq!(alone.into_inner(), VCPUS as u32 * ROUNDS.div_ceil(7));
    }

    #[test]
    fn a_vcpu_that_is_alone_anyway_asks_nobody() {
        for exclusive in [Exclusive::new(1, false), Exclusive::new(2, true)] {
            exclusive.enter(0);
            assert_eq!(exclusive.run_asking(0, |_| unreachable!("nobody else executes"), || 7), 7);
        }
    }
}
