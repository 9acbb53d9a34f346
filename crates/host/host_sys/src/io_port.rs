//! I/O ports of this machine, for a program that has it for itself.

use std::io;

/// Writes `value` to `port`.
///
/// # Errors
/// The kernel does not allow it (`ioperm(2)` wants `CAP_SYS_RAWIO`), or the processor has no ports.
#[cfg(target_arch = "x86_64")]
pub fn write_byte(port: u16, value: u8) -> io::Result<()> {
    // SAFETY: the call takes three numbers, and no memory of ours.
    if unsafe { libc::ioperm(port.into(), 1, 1) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the instruction touches neither memory nor flags nor the stack, and the kernel has allowed the port.
    unsafe {
        std::arch::asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags));
    }
    Ok(())
}

/// Writes `value` to `port`.
///
/// # Errors
/// The processor has no ports.
#[cfg(not(target_arch = "x86_64"))]
pub fn write_byte(_port: u16, _value: u8) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
