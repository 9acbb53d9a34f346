//! Segments of 16-bit code, which Linux makes in a process's local descriptor table.

use std::io;

use crate::layout::{CODE, SMALL_DATA};

/// Selectors of 16-bit code at [`CODE`], and of data at [`SMALL_DATA`].
pub const SMALL_CODE_SELECTOR: u16 = 0x07;
pub const SMALL_DATA_SELECTOR: u16 = 0x0f;
/// `modify_ldt`: writes an entry.
const WRITE: libc::c_int = 0x11;

/// `struct user_desc` of Linux's `asm/ldt.h`.
#[repr(C)]
struct Descriptor {
    entry: u32,
    base: u32,
    limit: u32,
    flags: u32,
}

/// Bits of [`Descriptor::flags`].
const BITS_32: u32 = 1;
const IS_CODE: u32 = 2 << 1;
const LIMIT_IN_PAGES: u32 = 1 << 4;
const USABLE: u32 = 1 << 6;

/// Makes both segments for this process; they reach over all 4 GiB.
///
/// # Errors
/// The kernel has no `modify_ldt`, or does not let this process use it.
pub fn make() -> io::Result<()> {
    write(SMALL_CODE_SELECTOR, CODE as u32, IS_CODE)?;
    write(SMALL_DATA_SELECTOR, SMALL_DATA as u32, BITS_32)
}

fn write(selector: u16, base: u32, kind: u32) -> io::Result<()> {
    let flags = kind | LIMIT_IN_PAGES | USABLE;
    let descriptor = Descriptor { entry: (selector >> 3).into(), base, limit: 0xf_ffff, flags };
    // SAFETY: the kernel reads one live descriptor; nothing of this process's uses the entry.
    let answer =
        unsafe { libc::syscall(libc::SYS_modify_ldt, WRITE, &raw const descriptor, size_of::<Descriptor>()) };
    // The 32-bit answer is not extended.
    if answer as i32 == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
