//! What a child process has used, as the kernel accounts it.

use std::io;
use std::mem::MaybeUninit;
use std::process::Child;
use std::time::Duration;

/// Resources that a process used until its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in user and kernel mode together.
    pub cpu: Duration,
    /// Exit status as `wait` has it: exit code times 256, or the signal's number.
    pub status: i32,
}

/// Waits for `child` and returns what it used. The child is then reaped: do not wait for it again.
pub fn wait(child: Child) -> io::Result<Usage> {
    let pid = child.id() as libc::pid_t;
    // Dropping a `Child` neither waits nor kills; its pipes close.
    drop(child);
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let mut status = 0;
    loop {
        // SAFETY: both pointers lead to writable memory of the right types; the pid is our own child's, which
        // nobody else can have reaped, since its `Child` was owned here.
        let reaped = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
        if reaped == pid {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    // SAFETY: wait4 filled the structure in.
    let usage = unsafe { usage.assume_init() };
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    Ok(Usage { cpu: time(usage.ru_utime) + time(usage.ru_stime), status })
}

/// CPU time in user and kernel mode that all threads of `child` have used so far, to the kernel's own precision
/// (clock_getcpuclockid(3)).
///
/// # Errors
/// The child is gone.
pub fn cpu_so_far(child: &Child) -> io::Result<Duration> {
    let mut clock = 0;
    // SAFETY: the pointer leads to writable memory of the right type.
    let refused = unsafe { libc::clock_getcpuclockid(child.id() as libc::pid_t, &raw mut clock) };
    if refused != 0 {
        return Err(io::Error::from_raw_os_error(refused));
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: as above.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_worked_has_used_time() {
        let work = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exit 3";
        let child = std::process::Command::new("sh").args(["-c", work]).spawn().unwrap();
        let usage = wait(child).unwrap();
        assert_eq!(usage.status >> 8, 3);
        assert!(usage.cpu > Duration::from_millis(1), "{usage:?}");
    }

    #[test]
    fn a_child_that_works_uses_more_and_more() {
        let mut child = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let least = cpu_so_far(&child).unwrap() + Duration::from_millis(2);
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while cpu_so_far(&child).unwrap() < least {
            assert!(std::time::Instant::now() < deadline, "no time passes");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(cpu_so_far(&child).is_err());
    }
}
