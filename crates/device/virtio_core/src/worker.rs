//! The thread that serves one queue.
//!
//! ```text
//! start ─► Waiting ──kick──────► on_kick ───► Waiting
//!             │ ────source───────► on_source ─► Waiting
//!             └────stop──────────► drain ────► (handler handed back)
//! ```

use std::io;
use std::os::fd::BorrowedFd;
use std::thread::JoinHandle;

use device_model::EventFd;
use host_sys::poll::{Poller, Token, event_fd, new_event};

/// Serves one queue. Runs on the worker's thread only; handed back when the worker is stopped.
pub trait QueueHandler: Send + 'static {
    /// Descriptors that wake the handler besides the kick: completions, a tap. Asked once, at the start.
    fn sources(&self) -> Vec<BorrowedFd<'_>>;

    /// The driver made buffers available, or the queue has just been started.
    fn on_kick(&mut self);

    /// Source `index` is readable.
    fn on_source(&mut self, index: usize);

    /// Finishes or puts back everything in flight: afterwards neither guest memory nor the backend is touched.
    fn drain(&mut self);
}

/// A running queue thread.
pub struct Worker<H> {
    stop: EventFd,
    thread: JoinHandle<H>,
}

const KICK: Token = Token(0);
const STOP: Token = Token(1);
const FIRST_SOURCE: u64 = 2;

impl<H: QueueHandler> Worker<H> {
    /// Starts a thread shown as `name` that serves `handler`'s queue whenever `kick` is signalled.
    pub fn start(name: &str, kick: EventFd, handler: H) -> io::Result<Worker<H>> {
        let stop = new_event()?;
        let poller = Poller::new()?;
        poller.watch(event_fd(&kick), KICK)?;
        poller.watch(event_fd(&stop), STOP)?;
        for (index, source) in handler.sources().into_iter().enumerate() {
            poller.watch(source, Token(FIRST_SOURCE + index as u64))?;
        }
        let thread = host_sys::threads::spawn(name, move || serve(poller, &kick, handler))?;
        Ok(Worker { stop, thread })
    }

    /// Stops the thread after the handler has drained and returns the handler. `None` when it panicked.
    pub fn stop(self) -> Option<H> {
        // An eventfd write fails only when the counter is at its end: then the thread is woken already.
        let _ = self.stop.write(1);
        self.thread.join().ok()
    }
}

fn serve<H: QueueHandler>(poller: Poller, kick: &EventFd, mut handler: H) -> H {
    handler.on_kick();
    loop {
        for token in poller.wait(None) {
            match token {
                STOP => {
                    handler.drain();
                    return handler;
                }
                KICK => {
                    // Reading clears the event; EAGAIN means another wake-up already did.
                    let _ = kick.read();
                    handler.on_kick();
                }
                Token(source) => handler.on_source((source - FIRST_SOURCE) as usize),
            }
        }
    }
}

impl<H> Worker<H> {
    /// Whether the thread has ended by itself, which only a panic can cause.
    pub fn is_dead(&self) -> bool {
        self.thread.is_finished()
    }
}
