//! Threads that cost little: a name for `top -H` and a small stack.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Stack of a device or vCPU thread in bytes. Only touched pages are paid for; the bound catches recursion.
const STACK_SIZE_BYTES: usize = 256 * 1024;

/// Starts a thread shown as `name` (cut to 15 bytes by the kernel).
pub fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).stack_size(STACK_SIZE_BYTES).spawn(run)
}

/// Makes the calling thread one that computes (SCHED_BATCH, sched(7)): it keeps the processor until its share is used up
/// rather than giving way at once to each thread that wakes, and has the same share as any other. A thread that was given
/// another policy from outside (`chrt`) keeps that.
///
/// # Errors
/// The kernel or a sandbox refuses; the thread goes on as before.
pub fn compute() -> io::Result<()> {
    match policy()? {
        libc::SCHED_OTHER => set_policy(libc::SCHED_BATCH),
        _ => Ok(()),
    }
}

/// The calling thread's policy. By system call: musl has no functions for it.
fn policy() -> io::Result<i32> {
    // SAFETY: 0 names the calling thread; the call reads no memory of ours.
    let policy = unsafe { libc::syscall(libc::SYS_sched_getscheduler, 0) };
    i32::try_from(policy).ok().filter(|policy| *policy >= 0).ok_or_else(io::Error::last_os_error)
}

/// Sets it to one of those without a priority.
fn set_policy(policy: i32) -> io::Result<()> {
    // SAFETY: a structure of integers, for which zeros are what such a policy asks for.
    let parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer leads to a structure that lives through the call.
    let outcome = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const parameters) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_computes_is_a_batch_and_its_starter_is_not() {
        let before = policy().unwrap();
        let computed = spawn("compute", || compute().and_then(|()| policy())).unwrap().join().unwrap();
        match computed {
            Ok(after) if before == libc::SCHED_OTHER => assert_eq!(after, libc::SCHED_BATCH),
            Ok(after) => assert_eq!(after, before),
            Err(error) => println!("SKIPPED: this host refuses the policy: {error}"),
        }
        assert_eq!(policy().unwrap(), before);
    }

    #[test]
    fn another_policy_is_kept() {
        let idle = || set_policy(libc::SCHED_IDLE).and_then(|()| compute()).and_then(|()| policy());
        match spawn("idle", idle).unwrap().join().unwrap() {
            Ok(policy) => assert_eq!(policy, libc::SCHED_IDLE),
            Err(error) => println!("SKIPPED: this host refuses the policy: {error}"),
        }
    }
}
