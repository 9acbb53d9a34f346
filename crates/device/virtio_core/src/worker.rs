//! The thread that serves one queue.
//!
//! ```text
//! start ─► Waiting ──kick──────► on_kick ───► Waiting
//!             │ ────source───────► on_source ─► Waiting   (sources that are muted do not wake)
//!             └────stop──────────► drain ────► (handler handed back)
//! ```

use std::io;
use std::os::fd::BorrowedFd;
use std::thread::JoinHandle;

use device_model::EventFd;
use guest_memory::GuestMemory;
use host_sys::poll::{Poller, Token, event_fd, new_event};

/// Serves one queue. Runs on the worker's thread only; handed back when the worker is stopped.
pub trait QueueHandler: Send + 'static {
    /// Descriptors that wake the handler besides the kick: completions, a tap. Asked once, at the start.
    fn sources(&self) -> Vec<BorrowedFd<'_>>;

    /// The driver made buffers available, or the queue has just been started.
    fn on_kick(&mut self);

    /// Source `index` is readable.
    fn on_source(&mut self, index: usize);

    /// Whether source `index` shall not wake the handler for now: a tap that has packets, say, while the driver
    /// has no buffers for them. Asked after each call; the worker then sleeps until the kick.
    fn is_muted(&self, _index: usize) -> bool {
        false
    }

    /// The memory that the queue is in.
    fn memory(&self) -> &GuestMemory;

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
        let thread = host_sys::threads::spawn(name, move || serve(&poller, &kick, handler))?;
        Ok(Worker { stop, thread })
    }

    /// Stops the thread after the handler has drained and returns the handler. `None` when it panicked.
    pub fn stop(self) -> Option<H> {
        // An eventfd write fails only when the counter is at its end: then the thread is woken already.
        let _ = self.stop.write(1);
        self.thread.join().ok()
    }
}

fn serve<H: QueueHandler>(poller: &Poller, kick: &EventFd, mut handler: H) -> H {
    let memory = handler.memory().clone();
    let mut muted = vec![false; handler.sources().len()];
    {
        let _inside = memory.enter();
        handler.on_kick();
    }
    loop {
        update_mutes(poller, &handler, &mut muted);
        let tokens = poller.wait(None);
        let _inside = memory.enter();
        for token in tokens {
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

/// Makes the watched sources those that the handler has not muted.
fn update_mutes<H: QueueHandler>(poller: &Poller, handler: &H, muted: &mut [bool]) {
    if muted.iter().enumerate().all(|(index, now)| *now == handler.is_muted(index)) {
        return;
    }
    for ((index, source), now) in handler.sources().into_iter().enumerate().zip(muted) {
        match (*now, handler.is_muted(index)) {
            (false, true) => {
                // Fails only for a descriptor that is not watched, which is what is wanted.
                let _ = poller.unwatch(source);
                *now = true;
            }
            // On failure (out of kernel memory) it is tried again at the next wake-up.
            (true, false) => *now = poller.watch(source, Token(FIRST_SOURCE + index as u64)).is_err(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use guest_memory::{GpaRange, GuestAddress, Policy};

    use super::*;

    /// Has a source that is always readable and is muted until the second kick.
    struct Muting {
        memory: GuestMemory,
        source: EventFd,
        kicks: u32,
        calls: Arc<AtomicU32>,
    }

    impl QueueHandler for Muting {
        fn sources(&self) -> Vec<BorrowedFd<'_>> {
            vec![event_fd(&self.source)]
        }

        fn on_kick(&mut self) {
            self.kicks += 1;
        }

        fn on_source(&mut self, _index: usize) {
            self.calls.fetch_add(1, Ordering::SeqCst);
            let _ = self.source.read();
        }

        fn is_muted(&self, _index: usize) -> bool {
            self.kicks < 2
        }

        fn memory(&self) -> &GuestMemory {
            &self.memory
        }

        fn drain(&mut self) {}
    }

    fn memory() -> GuestMemory {
        let range = GpaRange { start: GuestAddress(0), size_bytes: 0x1000 };
        GuestMemory::allocate(&[range], Policy::default()).unwrap()
    }

    #[test]
    fn a_muted_source_wakes_the_handler_only_after_it_is_heard_again() {
        let (calls, kick) = (Arc::new(AtomicU32::new(0)), new_event().unwrap());
        let source = new_event().unwrap();
        source.write(1).unwrap();
        let handler = Muting { memory: memory(), source, kicks: 0, calls: Arc::clone(&calls) };
        let worker = Worker::start("muting", kick.try_clone().unwrap(), handler).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(calls.load(Ordering::SeqCst), 0);
        kick.write(1).unwrap();
        while calls.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        assert_eq!(worker.stop().unwrap().kicks, 2);
    }
}
