//! Locks on whole files that belong to the open file, not to the process (fcntl(2), "Open file description
//! locks"): they keep out a second opening in the same process, too, and end with the last descriptor.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// What others may still do with a locked file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Others may hold shared locks. The file must be open for reading.
    Shared,
    /// Nobody else may hold a lock. The file must be open for writing.
    Exclusive,
}

/// Locks all of `file` without waiting; `false` when somebody else's lock forbids it. Asking again changes
/// the kind of the lock held.
///
/// # Errors
/// Those of fcntl(2), where the file system knows no locks.
pub fn try_lock(file: &File, kind: LockKind) -> io::Result<bool> {
    let kind = match kind {
        LockKind::Shared => libc::F_RDLCK,
        LockKind::Exclusive => libc::F_WRLCK,
    };
    let answer = set_lock(file, kind as libc::c_short);
    match &answer {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(_) => answer.map(|()| true),
    }
}

/// Gives up the lock that is held on `file`, whichever kind it is; none is no error.
///
/// # Errors
/// Those of fcntl(2), where the file system knows no locks.
pub fn unlock(file: &File) -> io::Result<()> {
    set_lock(file, libc::F_UNLCK as libc::c_short)
}

/// Makes the lock of this open file on all of the file be of this type (fcntl(2), `l_type`).
fn set_lock(file: &File, kind: libc::c_short) -> io::Result<()> {
    // SAFETY: an all-zero flock is a valid value: from offset 0 to the end of the file, wherever that is.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_type = kind;
    // SAFETY: F_OFD_SETLK reads the flock that the pointer names, which outlives the call.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openings_of_one_process_exclude_each_other() {
        let first = crate::memory::memfd("test", 512).unwrap();
        let path = format!("/proc/self/fd/{}", first.as_raw_fd());
        let second = File::options().read(true).write(true).open(path).unwrap();
        assert!(try_lock(&first, LockKind::Shared).unwrap());
        assert!(try_lock(&second, LockKind::Shared).unwrap());
        assert!(!try_lock(&second, LockKind::Exclusive).unwrap());
        unlock(&first).unwrap();
        unlock(&first).unwrap();
        assert!(try_lock(&second, LockKind::Exclusive).unwrap());
        assert!(!try_lock(&first, LockKind::Shared).unwrap());
        drop(second);
        assert!(try_lock(&first, LockKind::Exclusive).unwrap());
    }
}
