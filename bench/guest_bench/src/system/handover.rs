//! Two threads on two processors that hand the turn to each other.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::{futex, processors};
use crate::measure::Work;

const HAND_OVERS: u64 = 20;

const OURS: u32 = 0;
const THEIRS: u32 = 1;
const OVER: u32 = 2;

/// There and back, by futexes; `other` is the second thread's processor.
pub fn thread_handover(other: usize) -> io::Result<Work> {
    let turn = Turn(Arc::new(AtomicU32::new(OURS)));
    let theirs = Arc::clone(&turn.0);
    // It ends when the turn is over.
    thread::Builder::new().spawn(move || processors::stay_on(other).and_then(|()| answer(&theirs)))?;
    Work::system(HAND_OVERS, move || {
        // The whole of it, for its Drop.
        let Turn(word) = &turn;
        for _ in 0..HAND_OVERS {
            word.store(THEIRS, Ordering::Release);
            futex::wake(word)?;
            wait_while(word, THEIRS)?;
        }
        Ok(HAND_OVERS)
    })
}

struct Turn(Arc<AtomicU32>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(OVER, Ordering::Release);
        // Fails for no address that is mapped.
        let _ = futex::wake(&self.0);
    }
}

fn answer(word: &AtomicU32) -> io::Result<()> {
    loop {
        wait_while(word, OURS)?;
        if word.compare_exchange(THEIRS, OURS, Ordering::AcqRel, Ordering::Acquire).is_err() {
            return Ok(());
        }
        futex::wake(word)?;
    }
}

fn wait_while(word: &AtomicU32, value: u32) -> io::Result<()> {
    while word.load(Ordering::Acquire) == value {
        futex::wait(word, value)?;
    }
    Ok(())
}
