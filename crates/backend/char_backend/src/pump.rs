//! From a backend to a device that takes what it has room for.
//!
//! ```text
//!            resume
//! Held ───────────────► Flowing ── input ──► the device, as far as it has room
//!  ▲                       │
//!  └───────────────────────┘ pause
//! ```
//!
//! Nothing is kept here: what the device has no room for, or is not to have while it is paused, stays in the backend.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use host_sys::poll::{event_fd, new_event};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vmm_sys_util::eventfd::EventFd;

use crate::CharBackend;

/// While input waits: how soon the device is asked again by itself, and the backend's housekeeping done.
const RETRY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Fills a buffer with input that has arrived, and says how many bytes that were.
pub type InputSource<'s> = &'s mut dyn FnMut(&mut [u8]) -> usize;

/// What to wait for, besides room in the device, going on and the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// For input.
    Input,
    /// For nothing else: there is input that nobody takes, which would wake at once.
    Room,
}

/// A thread that moves a backend's input to a device, once it is [resumed](InputPump::resume). Dropping it ends the
/// thread.
pub struct InputPump {
    stop: EventFd,
    room: EventFd,
    flows: Arc<Mutex<bool>>,
    thread: Option<JoinHandle<()>>,
}

impl InputPump {
    /// Starts the thread, paused, or does nothing for a backend without input. `device` takes what it has room for from the
    /// source that it is given, and returns whether it has room left; where it has not, it is asked again once `room` is
    /// signalled.
    pub fn start(
        backend: Arc<dyn CharBackend>,
        room: EventFd,
        mut device: impl FnMut(InputSource<'_>) -> bool + Send + 'static,
    ) -> io::Result<Option<InputPump>> {
        if backend.readable().is_none() {
            return Ok(None);
        }
        let (stop, flows) = (new_event()?, Arc::new(Mutex::new(false)));
        let (stopped, woken, flowing) = (stop.try_clone()?, room.try_clone()?, Arc::clone(&flows));
        let thread = host_sys::threads::spawn("console-in", move || {
            let mut next = Wait::Input;
            while wait(&stopped, &woken, &*backend, next) {
                // Empty unless the device has just made room, or goes on.
                let _ = woken.read();
                let flows = lock(&flowing);
                let has_room = *flows && device(&mut |buffer: &mut [u8]| backend.read(buffer));
                if !*flows {
                    backend.read(&mut []);
                }
                drop(flows);
                next = if !has_room && has_input(&*backend) { Wait::Room } else { Wait::Input };
            }
        })?;
        Ok(Some(InputPump { stop, room, flows, thread: Some(thread) }))
    }

    /// When this returns, the device is given nothing until [`resume`](InputPump::resume).
    pub fn pause(&self) {
        *lock(&self.flows) = false;
    }

    /// Goes on with what waits.
    pub fn resume(&self) {
        *lock(&self.flows) = true;
        wake(&self.room);
    }
}

fn lock(flows: &Mutex<bool>) -> MutexGuard<'_, bool> {
    flows.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wake(event: &EventFd) {
    // Fails only when the counter is at its end: then the thread is woken already.
    let _ = event.write(1);
}

fn has_input(backend: &dyn CharBackend) -> bool {
    let fds = backend.readable().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    fds.is_some_and(|fd| poll(&mut [fd], Some(&AT_ONCE)).is_ok_and(|ready| ready > 0))
}

/// Waits for work; `false` when it is over.
fn wait(stop: &EventFd, room: &EventFd, backend: &dyn CharBackend, next: Wait) -> bool {
    let watch = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
    let mut fds = vec![watch(event_fd(stop)), watch(event_fd(room))];
    let timeout = match next {
        Wait::Input => {
            fds.extend(backend.readable().map(watch));
            None
        }
        Wait::Room => Some(&RETRY),
    };
    // The only failure is an interruption by a signal: then there is nothing to do, and another wait.
    let _ = poll(&mut fds, timeout);
    fds[0].revents().is_empty()
}

impl Drop for InputPump {
    fn drop(&mut self) {
        wake(&self.stop);
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}
