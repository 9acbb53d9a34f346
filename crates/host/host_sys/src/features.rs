//! Asking the host kernel what it offers, without using it.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// `LANDLOCK_CREATE_RULESET_VERSION` (landlock_create_ruleset(2)): answer the version instead of a ruleset.
const LANDLOCK_VERSION: libc::c_uint = 1 << 0;
/// `UFFD_USER_MODE_ONLY` (userfaultfd(2)): only faults from user mode are reported.
const USER_MODE_ONLY: libc::c_int = 1;

/// Version of the Landlock interface, from 1 (landlock(7)).
///
/// # Errors
/// `ENOSYS` where the kernel has no Landlock, `EOPNOTSUPP` where it was turned off at boot.
pub fn landlock_version() -> io::Result<u32> {
    // SAFETY: with this flag the call takes no attributes, and answers a number.
    let answer = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0usize, LANDLOCK_VERSION)
    };
    u32::try_from(answer).map_err(|_| io::Error::last_os_error())
}

/// Whether system calls can be filtered (seccomp(2), `SECCOMP_GET_ACTION_AVAIL`, Linux 4.14).
pub fn has_seccomp_filters() -> bool {
    let action = libc::SECCOMP_RET_KILL_PROCESS;
    // SAFETY: the call reads one u32 through the pointer, which outlives it.
    let answer =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) };
    answer == 0
}

/// Opens and closes a userfaultfd that reports faults by user mode and, if `kernel_faults`, by the kernel
/// (as KVM makes them).
///
/// # Errors
/// `ENOSYS` where the kernel has none, `EPERM` where this process may not have one.
pub fn try_userfaultfd(kernel_faults: bool) -> io::Result<()> {
    let mode = if kernel_faults { 0 } else { USER_MODE_ONLY };
    // SAFETY: the call takes flags only.
    let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK | mode) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(|_| io::Error::from_raw_os_error(libc::EBADF))?;
    // SAFETY: the kernel just made this descriptor for us; nothing else owns it.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_have_answers() {
        if let Ok(version) = landlock_version() {
            assert!(version >= 1);
        }
        // Whoever may see the kernel's faults may see those of user mode.
        if try_userfaultfd(true).is_ok() {
            try_userfaultfd(false).unwrap();
        }
        assert!(has_seccomp_filters() || !std::path::Path::new("/proc/sys/kernel/seccomp").exists());
    }
}
