//! Whose turn it is to execute guest code.
//!
//! Guests count on the order in which x86 processors see each other's stores (SDM vol. 3, 8.2). A host with the same
//! order keeps it by itself; on any other, the vCPUs of a VM take turns, and what one has done another finds done.

use std::sync::{Condvar, Mutex, PoisonError};

use device_model::lock;

/// Whether this host's processors order memory accesses less strictly than x86's.
const IS_WEAK: bool = cfg!(not(target_arch = "x86_64"));

/// Numbers are drawn and served in order, so that nobody waits for ever.
#[derive(Debug, Default)]
struct Numbers {
    drawn: u64,
    served: u64,
}

/// The turn of a VM's vCPUs.
#[derive(Debug)]
pub(crate) struct Turn {
    in_turn: bool,
    numbers: Mutex<Numbers>,
    changed: Condvar,
}

impl Turn {
    /// For a VM with `vcpus` on this host, or on one whose order is weak.
    pub(crate) fn new(vcpus: u32, as_if_weak: bool) -> Turn {
        Turn::of((IS_WEAK || as_if_weak) && vcpus > 1)
    }

    fn of(in_turn: bool) -> Turn {
        Turn { in_turn, numbers: Mutex::default(), changed: Condvar::new() }
    }

    /// Whether one vCPU executes at a time.
    pub(crate) fn is_taken(&self) -> bool {
        self.in_turn
    }

    /// Waits until it is the calling vCPU's turn; it is until [`give`](Turn::give).
    pub(crate) fn take(&self) {
        if !self.in_turn {
            return;
        }
        let mut numbers = lock(&self.numbers);
        let ours = numbers.drawn;
        numbers.drawn += 1;
        while numbers.served != ours {
            numbers = self.changed.wait(numbers).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the calling vCPU's turn.
    pub(crate) fn give(&self) {
        if self.in_turn {
            lock(&self.numbers).served += 1;
            self.changed.notify_all();
        }
    }

    /// Lets those who wait have their turns, and then has the next.
    pub(crate) fn pass(&self) {
        if self.in_turn && self.is_wanted() {
            self.give();
            self.take();
        }
    }

    fn is_wanted(&self) -> bool {
        let numbers = lock(&self.numbers);
        numbers.drawn > numbers.served + 1
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn one_at_a_time() {
        const ROUNDS: u32 = 200;
        let (turn, inside, rounds) = (Turn::of(true), AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    turn.take();
                    for _ in 0..ROUNDS {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        rounds.fetch_add(1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        turn.pass();
                    }
                    turn.give();
                });
            }
        });
        assert_eq!(rounds.into_inner(), 3 * ROUNDS);
    }

    #[test]
    fn everybody_at_once_where_the_order_is_kept() {
        let turn = Turn::new(4, false);
        if !IS_WEAK {
            turn.take();
            turn.take();
            turn.pass();
            turn.give();
        }
        assert_eq!(turn.in_turn, IS_WEAK);
        assert!(Turn::new(4, true).in_turn && !Turn::new(1, true).in_turn);
    }
}
