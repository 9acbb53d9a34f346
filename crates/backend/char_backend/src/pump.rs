//! From a backend to a device that takes what it has room for.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use host_sys::poll::{event_fd, new_event};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vmm_sys_util::eventfd::EventFd;

use crate::CharBackend;

/// Most bytes read from a backend at once, and so most that wait for the device.
const CHUNK_BYTES: usize = 4096;
/// While the device is full: how soon it is asked again by itself, and the backend's housekeeping done.
const RETRY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What to wait for after [`CharInput::pump`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pumped {
    /// For the descriptor to become readable.
    Idle,
    /// For the device to have room; the descriptor is not to be watched meanwhile.
    Full,
}

/// A backend's input on its way to a device: for an event loop. [`InputPump`] is one with a thread.
pub struct CharInput {
    backend: Arc<dyn CharBackend>,
    held: Vec<u8>,
}

impl CharInput {
    /// The input of `backend`, or `None` if it has none.
    pub fn new(backend: Arc<dyn CharBackend>) -> Option<CharInput> {
        backend.readable()?;
        Some(CharInput { backend, held: Vec::new() })
    }

    /// What to watch.
    pub fn readable(&self) -> Option<BorrowedFd<'_>> {
        self.backend.readable()
    }

    /// Offers the device what has arrived: at most 4 KiB a call, so that an event loop has other turns.
    /// `device` returns how many bytes it took; the rest is kept for the next call.
    pub fn pump(&mut self, device: &mut dyn FnMut(&[u8]) -> usize) -> Pumped {
        if self.held.is_empty() {
            self.held.resize(CHUNK_BYTES, 0);
            let count = self.backend.read(&mut self.held);
            self.held.truncate(count);
        } else {
            self.backend.read(&mut []);
        }
        if self.held.is_empty() {
            return Pumped::Idle;
        }
        let taken = device(&self.held).min(self.held.len());
        self.held.drain(..taken);
        if self.held.is_empty() { Pumped::Idle } else { Pumped::Full }
    }
}

/// A thread that moves a backend's input to a device. Dropping it ends the thread.
pub struct InputPump {
    stop: EventFd,
    thread: Option<JoinHandle<()>>,
}

impl InputPump {
    /// Starts the thread, or does nothing for a backend without input. `device` takes what it has room for
    /// and returns how many bytes that was; when that was not all, it is asked again once `room` is signalled.
    pub fn start(
        backend: Arc<dyn CharBackend>,
        room: EventFd,
        mut device: impl FnMut(&[u8]) -> usize + Send + 'static,
    ) -> io::Result<Option<InputPump>> {
        let Some(mut input) = CharInput::new(backend) else { return Ok(None) };
        let stop = new_event()?;
        let stopped = stop.try_clone()?;
        let thread = host_sys::threads::spawn("console-in", move || {
            let mut pumped = Pumped::Idle;
            while wait(&stopped, &room, &input, pumped) {
                // Empty unless the device has just made room.
                let _ = room.read();
                pumped = input.pump(&mut device);
            }
        })?;
        Ok(Some(InputPump { stop, thread: Some(thread) }))
    }
}

/// Waits for work; `false` when it is over.
fn wait(stop: &EventFd, room: &EventFd, input: &CharInput, pumped: Pumped) -> bool {
    let watch = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
    let mut fds = vec![watch(event_fd(stop)), watch(event_fd(room))];
    let timeout = match pumped {
        Pumped::Idle => {
            fds.extend(input.readable().map(watch));
            None
        }
        Pumped::Full => Some(&RETRY),
    };
    // The only failure is an interruption by a signal: then there is nothing to do, and another wait.
    let _ = poll(&mut fds, timeout);
    fds[0].revents().is_empty()
}

impl Drop for InputPump {
    fn drop(&mut self) {
        // Fails only when the counter is at its end: then the thread is woken already.
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}
