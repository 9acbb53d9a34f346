//! Ctrl-C during long work: it ends at its next step, what was begun is undone, and then the process ends.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use host_sys::poll::{Poller, Token};
use host_sys::signals::{SignalEvents, is_ignored};

/// SIGHUP, SIGINT, SIGTERM (signal(7)).
const SIGNALS: [i32; 3] = [1, 2, 15];
/// How long undoing may take. A second signal ends the process at once.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether somebody wants the end of what is being done.
#[derive(Clone, Debug, Default)]
pub struct Interruption(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_wanted: AtomicBool,
    is_over: AtomicBool,
}

impl Interruption {
    /// From now on a signal that would end this process wants the end of what is being done first. Where the host has no
    /// thread or descriptors for that, signals do what they always do.
    pub fn of_work() -> Interruption {
        let interruption = Interruption::default();
        let (sender, receiver) = mpsc::channel::<SignalEvents>();
        let heard = interruption.clone();
        let listen = move || {
            if let Ok(events) = receiver.recv() {
                heard.listen(&events);
            }
        };
        let signals = SIGNALS.into_iter().filter(|signal| !is_ignored(*signal)).collect::<Vec<_>>();
        if thread::Builder::new().name("signals".to_owned()).spawn(listen).is_ok()
            && let Ok(events) = SignalEvents::block(&signals)
        {
            // It waits for that.
            let _ = sender.send(events);
        }
        interruption
    }

    /// Whether somebody wants it.
    pub fn is_wanted(&self) -> bool {
        self.0.is_wanted.load(Ordering::SeqCst)
    }

    /// All is done: from now on a signal ends the process at once.
    pub fn work_is_over(&self) {
        self.0.is_over.store(true, Ordering::SeqCst);
    }

    fn listen(&self, events: &SignalEvents) {
        let Ok(poller) = Poller::new() else { return };
        if poller.watch(events.as_fd(), Token(0)).is_err() {
            return;
        }
        let mut patience = None;
        loop {
            let ready = poller.wait(patience);
            let number = events.next().ok().flatten();
            let is_late = ready.is_empty() && patience.is_some();
            match number {
                Some(_) if patience.is_none() && !self.0.is_over.load(Ordering::SeqCst) => {
                    self.0.is_wanted.store(true, Ordering::SeqCst);
                    patience = Some(PATIENCE);
                }
                // As shells tell it of a process that a signal has ended.
                Some(number) => std::process::exit(128 + number),
                None if is_late => std::process::exit(128 + SIGNALS[1]),
                None => {}
            }
        }
    }
}
