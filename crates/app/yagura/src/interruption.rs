//! Ctrl-C during long work: it ends at its next step, what was begun is undone, and then the process ends.

use std::io;
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
        let signals = SIGNALS.into_iter().filter(|signal| !is_ignored(*signal)).collect::<Vec<_>>();
        let (ready, is_ready) = mpsc::channel();
        let (heard, heard_signals) = (interruption.clone(), signals.clone());
        let listen = move || {
            // A signal that one thread of a process does not block ends all of it.
            let Ok((events, poller)) = listening(&heard_signals) else { return };
            if ready.send(()).is_ok() {
                heard.listen(&events, &poller);
            }
        };
        let spawned = thread::Builder::new().name("signals".to_owned()).spawn(listen);
        if spawned.is_ok() && is_ready.recv().is_ok() {
            // Where this cannot be blocked, it ends the process as ever.
            let _ = SignalEvents::block(&signals);
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

    fn listen(&self, events: &SignalEvents, poller: &Poller) {
        let mut first = None;
        loop {
            let ready = poller.wait(first.map(|_| PATIENCE));
            match (events.next().ok().flatten(), first) {
                (Some(number), None) if !self.0.is_over.load(Ordering::SeqCst) => {
                    self.0.is_wanted.store(true, Ordering::SeqCst);
                    first = Some(number);
                }
                // As shells tell it of a process that a signal has ended.
                (Some(number), _) => std::process::exit(128 + number),
                (None, Some(number)) if ready.is_empty() => std::process::exit(128 + number),
                (None, _) => {}
            }
        }
    }
}

/// Signals as events of the thread that calls this, and what waits for them.
fn listening(signals: &[i32]) -> io::Result<(SignalEvents, Poller)> {
    let (events, poller) = (SignalEvents::block(signals)?, Poller::new()?);
    poller.watch(events.as_fd(), Token(0))?;
    Ok((events, poller))
}
