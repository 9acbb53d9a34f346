//! A child process that does one thing and is gone when its owner goes.

use std::io;

/// A forked child.
pub struct Child {
    pid: libc::pid_t,
}

impl Child {
    /// Forks; the child does `work` and exits with what that returns. It may use system calls and memory that was
    /// there before, and must not allocate.
    pub fn fork(work: impl FnOnce() -> i32) -> io::Result<Child> {
        // SAFETY: this process has one thread whenever a benchmark forks, and the child only does what it may after
        // a fork.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                // SAFETY: it asks for a signal at the parent's end; nothing else changes.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                let status = work();
                // SAFETY: it ends this process without running what belongs to the parent.
                unsafe { libc::_exit(status) }
            }
            pid => Ok(Child { pid }),
        }
    }

    /// Waits for its end and returns its exit status.
    pub fn wait(self) -> io::Result<i32> {
        let status = reap(self.pid)?;
        std::mem::forget(self);
        if libc::WIFEXITED(status) {
            Ok(libc::WEXITSTATUS(status))
        } else {
            Err(io::Error::other(format!("a child ended with status {status:#x}")))
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: the child was not waited for, so that the number is still its own.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        // Fails for none but a child that is gone.
        let _ = reap(self.pid);
    }
}

fn reap(pid: libc::pid_t) -> io::Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: the pointer leads to the status above.
        if unsafe { libc::waitpid(pid, &raw mut status, 0) } == pid {
            return Ok(status);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
