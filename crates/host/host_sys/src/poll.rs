//! Waiting for descriptors to become readable.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::Timespec;
use vmm_sys_util::eventfd::EventFd;

/// Flags of every event descriptor: closed on exec, never blocking.
pub const EVENTFD_FLAGS: i32 = libc::EFD_CLOEXEC | libc::EFD_NONBLOCK;

/// Identifies a watched descriptor to its watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(pub u64);

/// A set of watched descriptors (epoll, level-triggered).
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    /// An empty set.
    pub fn new() -> io::Result<Poller> {
        Ok(Poller { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Watches `fd` for input (or hang-up). The caller keeps it open, or closes it to end the watch.
    pub fn watch(&self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(token.0), EventFlags::IN)?)
    }

    /// Stops watching `fd`.
    pub fn unwatch(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, fd)?)
    }

    /// Waits until something is readable or `timeout` has passed, and returns what is. Returns nothing when
    /// interrupted by a signal.
    pub fn wait(&self, timeout: Option<Duration>) -> Vec<Token> {
        let timeout =
            timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: i64::from(t.subsec_nanos()) });
        let mut ready: Vec<Event> = Vec::with_capacity(8);
        // The only failure besides EINTR would be a bad epoll descriptor, which this type owns.
        let _ = epoll::wait(&self.epoll, spare_capacity(&mut ready), timeout.as_ref());
        ready.iter().map(|event| Token(event.data.u64())).collect()
    }
}

/// The descriptor of an [`EventFd`].
pub fn event_fd(event: &EventFd) -> BorrowedFd<'_> {
    // SAFETY: the descriptor is owned by `event`, which outlives the borrow.
    unsafe { BorrowedFd::borrow_raw(event.as_raw_fd()) }
}

/// A new event, see [`EVENTFD_FLAGS`].
pub fn new_event() -> io::Result<EventFd> {
    EventFd::new(EVENTFD_FLAGS)
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
