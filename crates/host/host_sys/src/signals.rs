//! Signals: blocked and read as events, or used to interrupt a blocking system call of one thread.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The signal that interrupts a thread inside a system call: no handler action, no restart.
fn interrupt_signal() -> libc::c_int {
    libc::SIGRTMIN() + 3
}

/// Installs the empty handler for [`Thread::interrupt`]. Idempotent.
pub fn install_interrupt_handler() -> io::Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: an all-zero sigaction is a valid value (no flags, empty mask); without SA_RESTART the
    // interrupted system call returns EINTR, which is the point. The handler does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as usize;
        if libc::sigaction(interrupt_signal(), &raw const action, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// A thread of this process that can be interrupted while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thread {
    tid: i32,
}

impl Thread {
    /// The calling thread.
    pub fn current() -> Thread {
        Thread { tid: rustix::thread::gettid().as_raw_nonzero().get() }
    }

    /// Makes a blocking system call of the thread return `EINTR`. A thread that has ended is ignored.
    pub fn interrupt(self) {
        // SAFETY: tgkill takes plain numbers; a stale tid of our own process at worst interrupts another
        // of our threads, all of which retry on EINTR.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), self.tid, interrupt_signal()) };
    }
}

/// Whether this process was told to ignore a signal, as `nohup` and shells do it for what runs in the background.
pub fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null pointer as the new action changes nothing; the old one is written to `action`, for which all zeros
    // are a valid value where the signal is none.
    let action = unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}

/// Has a program begin with no signal blocked, whatever this thread blocks: what is blocked is handed on, and few programs
/// look for that.
pub fn begin_unblocked(command: &mut Command) {
    let unblock = || {
        let mut none = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initializes the set that pthread_sigmask reads, and sets neither errno nor memory of others.
        let errno = unsafe {
            libc::sigemptyset(none.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut())
        };
        if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
    };
    // SAFETY: both functions may be called behind a fork (signal-safety(7)), and nothing is allocated.
    unsafe { command.pre_exec(unblock) };
}

/// Has a program begin in a session of its own: it has no terminal, and hears nothing of what happens to this one's.
pub fn begin_without_terminal(command: &mut Command) {
    let leave = || rustix::process::setsid().map(drop).map_err(io::Error::from);
    // SAFETY: setsid may be called behind a fork (signal-safety(7)), and nothing is allocated.
    unsafe { command.pre_exec(leave) };
}

/// Signals delivered as readable events instead of handlers.
#[derive(Debug)]
pub struct SignalEvents {
    fd: OwnedFd,
}

impl SignalEvents {
    /// Blocks `signals` in this thread (and in those it starts later) and delivers them here.
    pub fn block(signals: &[i32]) -> io::Result<SignalEvents> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset initializes the set that the following calls read; signalfd returns a new
        // descriptor that nothing else owns.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            for signal in signals {
                libc::sigaddset(set.as_mut_ptr(), *signal);
            }
            let errno = libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
            if errno != 0 {
                return Err(io::Error::from_raw_os_error(errno));
            }
            let fd = libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(SignalEvents { fd: OwnedFd::from_raw_fd(fd) })
        }
    }

    /// The next pending signal's number, or `None` when there is none.
    pub fn next(&self) -> io::Result<Option<i32>> {
        let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.fd, &mut info) {
            Ok(_) => Ok(Some(i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))),
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for SignalEvents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
