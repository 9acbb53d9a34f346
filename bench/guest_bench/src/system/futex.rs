//! Waiting for a word in memory, as the kernel offers it.

use std::io;
use std::ptr;
use std::sync::atomic::AtomicU32;

/// Sleeps while the word has this value. Returns early at times: look again.
pub fn wait(word: &AtomicU32, value: u32) -> io::Result<()> {
    let forever = ptr::null::<libc::timespec>();
    // SAFETY: the word outlives the call, which only reads it.
    let status = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, forever) };
    if status == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // The word had changed already, or a signal came.
        Some(libc::EAGAIN | libc::EINTR) => Ok(()),
        _ => Err(error),
    }
}

/// Wakes who sleeps on the word.
pub fn wake(word: &AtomicU32) -> io::Result<()> {
    // SAFETY: the kernel looks up sleepers by the address and touches nothing.
    let status = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, 1) };
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
