//! The name under which `ps` and `top` show this process.

use std::ffi::CString;
use std::fs;
use std::io;

/// Shows `title` as this process's command line and, cut to 15 bytes, as its `comm`.
///
/// Linux shows the memory between `arg_start` and `arg_end` (proc(5)), so the title overwrites the original
/// arguments and is cut to their length. Call it before threads start and after the arguments were parsed.
pub fn set_process_title(title: &str) -> io::Result<()> {
    let comm = CString::new(title.replace('\0', " ")).unwrap_or_default();
    // SAFETY: PR_SET_NAME reads at most 16 bytes from a valid C string.
    if unsafe { libc::prctl(libc::PR_SET_NAME, comm.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let (start, end) = argument_area()?;
    let Some(room) = end.checked_sub(start).filter(|room| *room > 1) else { return Ok(()) };
    let shown = &comm.as_bytes()[..comm.as_bytes().len().min(room - 1)];
    // SAFETY: the kernel keeps this process's argument strings in [arg_start, arg_end), which stays mapped
    // and writable for the life of the process; std has copied the arguments by the time of the call.
    unsafe {
        let area = start as *mut u8;
        std::ptr::write_bytes(area, 0, room);
        std::ptr::copy_nonoverlapping(shown.as_ptr(), area, shown.len());
    }
    Ok(())
}

/// `arg_start` and `arg_end` from `/proc/self/stat` (fields 48 and 49, proc(5)).
fn argument_area() -> io::Result<(usize, usize)> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let after_comm = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = after_comm.split_ascii_whitespace().skip(48 - 3).map(|field| field.parse().unwrap_or(0));
    Ok((fields.next().unwrap_or(0), fields.next().unwrap_or(0)))
}
