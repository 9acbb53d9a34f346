//! Two processes on one processor that yield it to each other.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use super::child::Child;
use crate::measure::Work;
use crate::pages::Pages;

const ROUND_TRIPS: u64 = 20;
const PAGE_BYTES: usize = 4096;

/// `sched_yield` until the other has had its turn: two switches there and back.
pub fn context_switch() -> io::Result<Work> {
    let page = Pages::shared(PAGE_BYTES)?;
    let child = Child::fork(|| {
        loop {
            pass(&page.shared_words()[0], 1, 0);
        }
    })?;
    Work::system(2 * ROUND_TRIPS, move || {
        let _alive = &child;
        let turn = &page.shared_words()[0];
        turn.store(1, Ordering::Release);
        for _ in 0..ROUND_TRIPS {
            pass(turn, 0, 1);
        }
        Ok(ROUND_TRIPS)
    })
}

/// Waits for its own turn and gives it away.
fn pass(turn: &AtomicU32, own: u32, others: u32) {
    while turn.load(Ordering::Acquire) != own {
        // SAFETY: it takes nothing and changes nothing but who runs. It never fails on Linux.
        unsafe { libc::sched_yield() };
    }
    turn.store(others, Ordering::Release);
}
