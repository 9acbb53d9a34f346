//! Which processor a thread runs on.

use std::io;
use std::mem;

/// The processors that this thread may run on, in order.
pub fn allowed() -> io::Result<Vec<usize>> {
    // SAFETY: a set of no processors is all zeros.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the set is as large as is said.
    if unsafe { libc::sched_getaffinity(0, mem::size_of_val(&set), &raw mut set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the numbers are within the set.
    Ok((0..libc::CPU_SETSIZE as usize).filter(|number| unsafe { libc::CPU_ISSET(*number, &set) }).collect())
}

/// Keeps this thread, and what it starts from now on, on one processor.
pub fn stay_on(number: usize) -> io::Result<()> {
    // SAFETY: a set of no processors is all zeros.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the number came out of such a set.
    unsafe { libc::CPU_SET(number, &mut set) };
    // SAFETY: the set is as large as is said.
    if unsafe { libc::sched_setaffinity(0, mem::size_of_val(&set), &raw const set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
