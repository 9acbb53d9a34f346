//! The thread that raises the interrupt line in time.
//!
//! ```text
//! (none) ── first interrupt wanted ─► Waiting ── due ─► line driven ─► Waiting
//!                                        └── stop ─► (ends)
//! ```

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use device_model::{Consequence, HostFailure, PowerSink, lock};
use tracing::warn;

use super::chip::Chip;

/// Shortest time between two looks at the counter. A guest that asks for interrupts in quicker succession gets
/// as many as this allows, and its process does not spin.
const SHORTEST_WAIT: Duration = Duration::from_micros(100);

/// The chip, and its thread once there is one.
pub(super) struct InterruptThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Told where the host has no thread for the timer.
    pub(super) machine: Option<Arc<dyn PowerSink>>,
}

struct Shared {
    chip: Mutex<Chip>,
    changed: Condvar,
    stop: Mutex<bool>,
}

impl InterruptThread {
    pub(super) fn new(chip: Chip) -> InterruptThread {
        let shared = Shared { chip: Mutex::new(chip), changed: Condvar::new(), stop: Mutex::new(false) };
        InterruptThread { shared: Arc::new(shared), thread: None, machine: None }
    }

    #[cfg(test)]
    pub(super) fn is_running(&self) -> bool {
        self.thread.is_some()
    }

    pub(super) fn shared(&self) -> &Mutex<Chip> {
        &self.shared.chip
    }

    /// Makes the thread look anew at what it waits for. Starts it when there is something to wait for.
    pub(super) fn follow(&mut self) {
        if self.thread.is_some() {
            self.shared.changed.notify_one();
            return;
        }
        if lock(&self.shared.chip).next_interrupt().is_none() {
            return;
        }
        let shared = Arc::clone(&self.shared);
        match host_sys::threads::spawn("pit", move || shared.serve()) {
            Ok(thread) => self.thread = Some(thread),
            Err(error) => self.tell_machine(&error),
        }
    }
}

impl InterruptThread {
    fn tell_machine(&self, error: &io::Error) {
        warn!(%error, "the timer has no thread: it does not interrupt");
        if let Some(machine) = &self.machine {
            machine.host_failure(HostFailure {
                device: "pit".to_owned(),
                what: format!("its thread cannot be started: {error}{}", host_sys::limits::advice(error)),
                consequence: Consequence::Fatal,
            });
        }
    }
}

impl Shared {
    fn serve(&self) {
        let mut chip = lock(&self.chip);
        while !*lock(&self.stop) {
            let due = chip.next_interrupt();
            let wait = due.map(|at| chip.ticks.until(at).max(SHORTEST_WAIT));
            chip = self.wait(chip, wait);
            if !chip.ticks.is_paused() {
                chip.follow();
            }
        }
    }

    fn wait<'c>(&self, chip: MutexGuard<'c, Chip>, time: Option<Duration>) -> MutexGuard<'c, Chip> {
        match time {
            Some(time) => self.changed.wait_timeout(chip, time).unwrap_or_else(PoisonError::into_inner).0,
            None => self.changed.wait(chip).unwrap_or_else(PoisonError::into_inner),
        }
    }
}

impl Drop for InterruptThread {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        {
            // Under the lock, so that the thread is not between its look and its wait.
            let _core = lock(&self.shared.chip);
            *lock(&self.shared.stop) = true;
        }
        self.shared.changed.notify_one();
        if thread.join().is_err() {
            warn!("the timer's thread had panicked");
        }
    }
}
