//! Being the first process of a guest.

use std::ffi::CStr;
use std::io;
use std::ptr;

/// Whether this is the first process.
pub fn is_first() -> bool {
    std::process::id() == 1
}

/// Mounts what the benchmarks need.
pub fn mount() -> io::Result<()> {
    mount_one(c"proc", c"/proc")
}

fn mount_one(kind: &CStr, place: &CStr) -> io::Result<()> {
    // SAFETY: the strings end with zero; this kind of file system takes no data.
    let status = unsafe { libc::mount(kind.as_ptr(), place.as_ptr(), kind.as_ptr(), 0, ptr::null()) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Powers the machine off, after what was printed has gone out.
pub fn power_off() -> io::Error {
    // SAFETY: the first waits for the console; the second ends everything. Both only take numbers.
    unsafe {
        libc::tcdrain(libc::STDOUT_FILENO);
        libc::reboot(libc::LINUX_REBOOT_CMD_POWER_OFF);
    }
    io::Error::last_os_error()
}
