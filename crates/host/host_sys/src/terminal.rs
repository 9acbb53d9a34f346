//! Terminal modes that are put back in every way of ending.
//!
//! ```text
//! enter ──► raw ──drop, exit(), fatal signal──► as it was
//!            │ ▲
//!   SIGTSTP  ▼ │ SIGCONT, or `resume`, in the foreground
//!         as it was (stopped, or in the background)
//! ```
//!
//! What was found is kept in a static, where signal handlers reach it (see [`endings`]). `SIGKILL`, `SIGSTOP` and
//! `_exit` alone leave the terminal raw: then `reset` or `stty sane` helps.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::endings;

/// The terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowSize {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// The size of the terminal behind `fd`; `None` when it is no terminal or does not know.
pub fn window_size(fd: impl AsFd) -> Option<WindowSize> {
    let size = rustix::termios::tcgetwinsize(fd).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some(WindowSize { columns: size.ws_col, rows: size.ws_row })
}

/// Whether `fd` is a terminal that this process may read and set: in its foreground, or without job control.
pub fn is_foreground(fd: BorrowedFd<'_>) -> bool {
    foreground(fd.as_raw_fd())
}

/// Whether this process has a terminal in raw mode now: there a line ends only by `\r\n`.
pub fn is_raw() -> bool {
    SAVED.is_raw.load(Ordering::SeqCst)
}

/// A terminal in raw mode: every key is passed on, nothing is echoed or translated.
///
/// Dropping the last guard puts the terminal back; so does every other ending of the process.
#[derive(Debug)]
pub struct RawTerminal(());

impl RawTerminal {
    /// Puts the terminal behind `fd` into raw mode; `None` when `fd` is no terminal.
    ///
    /// In the background nothing is changed until the process is continued in the foreground or calls
    /// [`resume`](RawTerminal::resume). Further guards for the terminal held already change nothing;
    /// another terminal is refused with [`io::ErrorKind::ResourceBusy`].
    pub fn enter(fd: BorrowedFd<'_>) -> io::Result<Option<RawTerminal>> {
        if !rustix::termios::isatty(fd) {
            return Ok(None);
        }
        let device = rustix::fs::fstat(fd)?.st_rdev;
        let mut holders = holders();
        if holders.count > 0 && holders.device != device {
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another terminal is in raw mode"));
        }
        if holders.count == 0 {
            take_over(fd)?;
            holders.device = device;
        }
        holders.count += 1;
        Ok(Some(RawTerminal(())))
    }

    /// Enters raw mode again if something has left it and the process is in the foreground.
    pub fn resume(&self) {
        enter_raw();
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let mut holders = holders();
        holders.count -= 1;
        if holders.count == 0 {
            leave_raw();
            let fd = SAVED.fd.swap(-1, Ordering::SeqCst);
            // SAFETY: `take_over` made the descriptor and gave it up; nobody finds its number any more.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
}

/// How many guards there are, and of which terminal.
struct Holders {
    count: usize,
    device: u64,
}

fn holders() -> MutexGuard<'static, Holders> {
    static HOLDERS: Mutex<Holders> = Mutex::new(Holders { count: 0, device: 0 });
    HOLDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What handlers need. Modes are written while `fd` is -1 and under the lock of [`holders`], and read only
/// after `fd` was seen to be something else.
struct Saved {
    fd: AtomicI32,
    is_raw: AtomicBool,
    found: UnsafeCell<MaybeUninit<libc::termios>>,
    raw: UnsafeCell<MaybeUninit<libc::termios>>,
}

// SAFETY: the cells are written before `fd` is published and not while it is, see the type's documentation.
unsafe impl Sync for Saved {}

static SAVED: Saved = Saved {
    fd: AtomicI32::new(-1),
    is_raw: AtomicBool::new(false),
    found: UnsafeCell::new(MaybeUninit::uninit()),
    raw: UnsafeCell::new(MaybeUninit::uninit()),
};

fn take_over(fd: BorrowedFd<'_>) -> io::Result<()> {
    let own = fd.try_clone_to_owned()?;
    let mut found = MaybeUninit::<libc::termios>::uninit();
    // SAFETY: tcgetattr fills the structure when it succeeds.
    let found = unsafe {
        checked(libc::tcgetattr(own.as_raw_fd(), found.as_mut_ptr()))?;
        found.assume_init()
    };
    let mut raw = found;
    // SAFETY: cfmakeraw changes a valid structure in place.
    unsafe { libc::cfmakeraw(&raw mut raw) };
    // SAFETY: no guard exists and `fd` is -1, so nobody reads the cells (see `Saved`).
    unsafe {
        *SAVED.found.get() = MaybeUninit::new(found);
        *SAVED.raw.get() = MaybeUninit::new(raw);
    }
    SAVED.is_raw.store(false, Ordering::SeqCst);
    SAVED.fd.store(own.into_raw_fd(), Ordering::SeqCst);
    install_once();
    enter_raw();
    Ok(())
}

/// Async-signal-safe.
fn enter_raw() {
    let fd = SAVED.fd.load(Ordering::SeqCst);
    if fd >= 0 && foreground(fd) && !SAVED.is_raw.swap(true, Ordering::SeqCst) {
        set_modes(fd, &SAVED.raw);
    }
}

/// Async-signal-safe. Whoever is in the foreground when this process is not has modes of its own: they stay.
fn leave_raw() {
    let fd = SAVED.fd.load(Ordering::SeqCst);
    if fd >= 0 && SAVED.is_raw.swap(false, Ordering::SeqCst) && foreground(fd) {
        set_modes(fd, &SAVED.found);
    }
}

/// Sets the terminal's modes, even if it has become another process group's meanwhile (where `SIGTTOU` would
/// stop this process). Async-signal-safe.
fn set_modes(fd: c_int, modes: &UnsafeCell<MaybeUninit<libc::termios>>) {
    // SAFETY: the mode cells are initialized and unchanging once `fd` is published (see `Saved`); sets and
    // masks are initialized by sigemptyset and pthread_sigmask before they are read.
    unsafe {
        let mut blocked = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(blocked.as_mut_ptr());
        libc::sigaddset(blocked.as_mut_ptr(), libc::SIGTTOU);
        libc::pthread_sigmask(libc::SIG_BLOCK, blocked.as_ptr(), before.as_mut_ptr());
        libc::tcsetattr(fd, libc::TCSANOW, modes.get().cast::<libc::termios>());
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), null_mut());
    }
}

/// Async-signal-safe. A terminal that is not this session's has no foreground to be in.
fn foreground(fd: c_int) -> bool {
    // SAFETY: both calls take and return plain numbers.
    let (terminal, own) = unsafe { (libc::tcgetpgrp(fd), libc::getpgrp()) };
    terminal < 0 || terminal == own
}

/// Sees to it, with the process's first guard, that every ending puts the terminal back. Called under the lock of
/// [`holders`].
fn install_once() {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if INSTALLED.swap(true, Ordering::SeqCst) {
        return;
    }
    endings::before_ending(leave_raw);
    for signal in [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU] {
        endings::install_where_default(signal, on_stop);
    }
    endings::install_where_default(libc::SIGCONT, on_continue);
}

/// Restores and stops; `SIGSTOP` does it at once, without a change of handlers that could race.
extern "C" fn on_stop(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    keeping_errno(|| {
        leave_raw();
        // SAFETY: takes plain numbers and is async-signal-safe.
        unsafe { libc::kill(libc::getpid(), libc::SIGSTOP) };
    });
}

/// Whoever ran meanwhile may have changed the modes: they are set again.
extern "C" fn on_continue(_: c_int, _: *mut libc::siginfo_t, _: *mut c_void) {
    keeping_errno(|| {
        SAVED.is_raw.store(false, Ordering::SeqCst);
        enter_raw();
    });
}

/// Runs `body` without a trace for the code that the signal interrupted.
fn keeping_errno(body: impl FnOnce()) {
    // SAFETY: the address is that of this thread's errno, valid while the thread lives.
    let errno = unsafe { *libc::__errno_location() };
    body();
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

fn checked(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
