//! Memory right from the kernel, in pages of 4 KiB everywhere.

use std::io;
use std::ptr;
use std::slice;

/// Anonymous memory, unmapped when it goes.
pub struct Pages {
    address: *mut libc::c_void,
    bytes: usize,
}

impl Pages {
    /// So many bytes of zeros that no huge page holds: guests and hosts differ in when they use those.
    pub fn new(bytes: usize) -> io::Result<Pages> {
        let pages = Pages::map(bytes, libc::MAP_PRIVATE)?;
        // SAFETY: the range is this mapping's.
        if unsafe { libc::madvise(pages.address, bytes, libc::MADV_NOHUGEPAGE) } != 0 {
            let error = io::Error::last_os_error();
            // A kernel without huge pages does not know the advice.
            if error.raw_os_error() != Some(libc::EINVAL) {
                return Err(error);
            }
        }
        Ok(pages)
    }

    /// Memory that a forked child shares.
    pub fn shared(bytes: usize) -> io::Result<Pages> {
        Pages::map(bytes, libc::MAP_SHARED)
    }

    fn map(bytes: usize, kind: libc::c_int) -> io::Result<Pages> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at a place of the kernel's choice touches no other memory.
        let address =
            unsafe { libc::mmap(ptr::null_mut(), bytes, protection, kind | libc::MAP_ANONYMOUS, -1, 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Pages { address, bytes })
    }

    /// The memory.
    pub fn words(&mut self) -> &mut [u64] {
        // SAFETY: the mapping is this long, aligned to pages, and borrowed as long as this is.
        unsafe { slice::from_raw_parts_mut(self.address.cast(), self.bytes / 8) }
    }

    /// The first words as what two processes may change at once.
    pub fn shared_words(&self) -> &[std::sync::atomic::AtomicU32] {
        // SAFETY: as above; atomics allow the sharing.
        unsafe { slice::from_raw_parts(self.address.cast(), self.bytes / 4) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: nobody can borrow from this any more. It cannot fail for a whole mapping.
        unsafe { libc::munmap(self.address, self.bytes) };
    }
}
