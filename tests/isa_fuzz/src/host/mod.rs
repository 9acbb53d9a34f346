//! The host's processor: a forked child that executes cases, a batch at a time.
//!
//! ```text
//!  parent                          child
//!  cases ──► mailbox (shared) ◄──── signal handler: takes the next case, loads it into the signal's context
//!  one byte ─────────────────────►  sigreturn: all registers at once, the instruction, a trap or a fault
//!  waits ◄────────────── one byte   signal handler: takes the registers out of the context …
//! ```
//!
//! A child that dies is replaced; the case that killed it is told as lost.

mod child;
mod ldt;
mod mailbox;
mod sandbox;
mod signal;

pub use mailbox::BATCH;

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Mutex;

use crate::case::{Case, Record};
use mailbox::SharedMailbox;
use signal::Session;

/// A child that says nothing for so long has lost its way, in milliseconds.
const PATIENCE_MS: i32 = 10_000;

/// Held while a child's ends of the pipes are open in the parent: no other child may inherit them.
static FORKING: Mutex<()> = Mutex::new(());

/// A child and the memory it shares.
pub struct Host {
    mailbox: SharedMailbox,
    child: Child,
}

struct Child {
    pid: libc::pid_t,
    to_child: OwnedFd,
    from_child: OwnedFd,
}

impl Host {
    /// Whether the host can be used: its kernel lets programs write FS's base.
    pub fn is_usable() -> bool {
        const HWCAP2_FSGSBASE: u64 = 2;
        // SAFETY: reads the auxiliary vector.
        let hwcap2 = unsafe { libc::getauxval(libc::AT_HWCAP2) };
        hwcap2 & HWCAP2_FSGSBASE != 0
    }

    /// Why the engine is not compared with the host, where it is not. Each maker has what manuals leave open his own way, and faults
    /// in an order of his own; only AMD's has been gone through.
    pub fn is_not_compared() -> Option<&'static str> {
        if !Host::is_usable() {
            Some("the host's kernel does not let programs write FS's base")
        } else if !crate::host_cpuid::is_amd() {
            Some("the host's processor is not AMD's, and what others do otherwise has not been gone through")
        } else {
            None
        }
    }

    /// Whether its kernel lets programs have segments of 16-bit code.
    pub fn has_small_code() -> bool {
        ldt::make().is_ok()
    }

    /// Starts a child.
    pub fn start() -> io::Result<Host> {
        let mailbox = SharedMailbox::map()?;
        let child = Child::fork(&mailbox)?;
        Ok(Host { mailbox, child })
    }

    /// Executes `cases`, at most [`BATCH`].
    pub fn run(&mut self, cases: &[Case], records: &mut Vec<Record>) -> io::Result<()> {
        records.clear();
        let mut done = 0;
        while done < cases.len() {
            let rest = &cases[done..];
            self.mailbox.put(rest);
            let survived = self.child.run()?;
            let finished = self.mailbox.finished().min(rest.len());
            self.mailbox.take(finished, records);
            done += finished;
            if !survived {
                if done < cases.len() {
                    records.push(Record { lost: true, ..Record::new(&cases[done].state) });
                    done += 1;
                }
                self.child = Child::fork(&self.mailbox)?;
            }
        }
        Ok(())
    }
}

impl Child {
    fn fork(mailbox: &SharedMailbox) -> io::Result<Child> {
        let _one_at_a_time = FORKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (child_in, to_child) = pipe()?;
        let (from_child, child_out) = pipe()?;
        let mut session = Box::new(Session::new(mailbox, child_in.as_raw_fd(), child_out.as_raw_fd()));
        // SAFETY: the child calls only what may be called between fork and exec, and never returns from `child::main`.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => child::main(&mut session),
            pid => Ok(Child { pid, to_child, from_child }),
        }
    }

    /// Lets the child work through the mailbox. False if it is gone.
    fn run(&self) -> io::Result<bool> {
        // SAFETY: writes one byte from a live buffer to a pipe of ours (a broken one is an error: SIGPIPE is ignored
        // in Rust programs).
        let told = unsafe { libc::write(self.to_child.as_raw_fd(), [1u8].as_ptr().cast(), 1) };
        if told != 1 {
            return Ok(false);
        }
        let mut wait = libc::pollfd { fd: self.from_child.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        loop {
            // SAFETY: one live pollfd.
            match unsafe { libc::poll(&raw mut wait, 1, PATIENCE_MS) } {
                -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                -1 => return Err(io::Error::last_os_error()),
                0 => return Ok(false),
                _ => break,
            }
        }
        let mut byte = [0u8];
        // SAFETY: reads one byte into a live buffer.
        Ok(unsafe { libc::read(self.from_child.as_raw_fd(), byte.as_mut_ptr().cast(), 1) } == 1)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: the child is ours and not yet waited for, so its number cannot be another's.
        unsafe {
            libc::kill(self.pid, libc::SIGKILL);
            libc::waitpid(self.pid, std::ptr::null_mut(), 0);
        }
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors, which are nobody else's when the call succeeds.
    unsafe {
        if libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])))
    }
}
