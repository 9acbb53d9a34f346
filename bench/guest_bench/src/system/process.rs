//! Making processes.

use std::ffi::CString;
use std::io;
use std::ptr;

use super::child::Child;
use crate::measure::Work;

/// The argument with which this program ends at once.
pub const EXIT: &str = "--exit";
/// The status that the children end with.
pub const STATUS: i32 = 7;

/// `fork`, `_exit` and `wait`.
pub fn fork_wait() -> io::Result<Work> {
    Work::system(1, || Ok(Child::fork(|| STATUS)?.wait()? as u64))
}

/// `fork`, `execve` of this program, and `wait`.
pub fn fork_exec() -> io::Result<Work> {
    let program = CString::new("/proc/self/exe")?;
    let argument = CString::new(EXIT)?;
    Work::system(1, move || {
        let child = Child::fork(|| {
            let arguments = [program.as_ptr(), argument.as_ptr(), ptr::null()];
            let environment = [ptr::null()];
            // SAFETY: strings and lists end with zero, and live until the program is another one.
            unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
            // It is still this program: that is an error.
            STATUS + 1
        })?;
        Ok(child.wait()? as u64)
    })
}
