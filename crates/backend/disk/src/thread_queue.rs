//! A disk queue served by a few threads that block in system calls.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use host_sys::poll::{event_fd, new_event};
use vmm_sys_util::eventfd::EventFd;

use crate::contract::{DiskCompletion, DiskQueue, DiskRequest};

/// Serves requests one by one, in whatever thread it is called.
pub(crate) trait Serve: Send + Sync {
    /// Serves a request to its end. Blocks.
    fn perform(&self, request: DiskRequest) -> io::Result<()>;
}

/// Requests go in at one end and come out completed at the other. Dropping it finishes what was submitted.
pub(crate) struct ThreadQueue {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    server: Arc<dyn Serve>,
    /// Signalled for each completion.
    event: EventFd,
    /// Its lock is never held during I/O, nor while another is taken.
    state: Mutex<State>,
    /// A request is waiting, or the queue is closing.
    work: Condvar,
    /// Nothing is waiting or being served.
    idle: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<DiskRequest>,
    being_served: usize,
    done: Vec<DiskCompletion>,
    closing: bool,
}

impl ThreadQueue {
    /// A queue with `threads` threads and an event of its own.
    pub(crate) fn new(server: Arc<dyn Serve>, threads: usize) -> io::Result<ThreadQueue> {
        ThreadQueue::with_event(server, threads, new_event()?)
    }

    /// A queue that signals `event`.
    pub(crate) fn with_event(
        server: Arc<dyn Serve>,
        threads: usize,
        event: EventFd,
    ) -> io::Result<ThreadQueue> {
        let shared = Arc::new(Shared {
            server,
            event,
            state: Mutex::default(),
            work: Condvar::new(),
            idle: Condvar::new(),
        });
        // Made before the first thread: dropping it ends those that were started when a later one fails.
        let mut queue = ThreadQueue { shared, threads: Vec::with_capacity(threads) };
        for _ in 0..threads {
            let shared = Arc::clone(&queue.shared);
            queue.threads.push(host_sys::threads::spawn("disk-io", move || shared.serve())?);
        }
        Ok(queue)
    }

    /// Like [`completions`](DiskQueue::completions), but leaves the event as it is.
    pub(crate) fn take_done(&mut self, out: &mut Vec<DiskCompletion>) {
        out.append(&mut self.shared.lock().done);
    }
}

impl DiskQueue for ThreadQueue {
    fn submit(&mut self, request: DiskRequest) {
        self.shared.lock().waiting.push_back(request);
        self.shared.work.notify_one();
    }

    fn commit(&mut self) {}

    fn completion_event(&self) -> BorrowedFd<'_> {
        event_fd(&self.shared.event)
    }

    fn completions(&mut self, out: &mut Vec<DiskCompletion>) {
        // Cleared before the look: what completes later signals anew. EAGAIN: nothing to clear.
        let _ = self.shared.event.read();
        self.take_done(out);
    }

    fn drain(&mut self, out: &mut Vec<DiskCompletion>) {
        let busy = |state: &mut State| state.being_served > 0 || !state.waiting.is_empty();
        let state = self.shared.idle.wait_while(self.shared.lock(), busy);
        drop(state.unwrap_or_else(PoisonError::into_inner));
        self.completions(out);
    }
}

impl Shared {
    /// One thread's life: serve until the queue closes and nothing is left.
    fn serve(&self) {
        let mut state = self.lock();
        loop {
            if let Some(request) = state.waiting.pop_front() {
                state.being_served += 1;
                drop(state);
                let id = request.id;
                let result = self.server.perform(request);
                state = self.lock();
                state.being_served -= 1;
                state.done.push(DiskCompletion { id, result });
                // The counter at its end also means readable.
                let _ = self.event.write(1);
                if state.being_served == 0 && state.waiting.is_empty() {
                    self.idle.notify_all();
                }
            } else if state.closing {
                return;
            } else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ThreadQueue {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing more to do.
            let _ = thread.join();
        }
    }
}
