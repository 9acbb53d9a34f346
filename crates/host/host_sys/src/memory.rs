//! Anonymous files for shared memory, and keeping this process's own memory small.

use std::fs::File;
use std::io;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

/// A sealed-off anonymous file of `size_bytes`, shown as `name` in `/proc/PID/maps`.
pub fn memfd(name: &str, size_bytes: u64) -> io::Result<File> {
    let file = memfd_create(name, MemfdFlags::CLOEXEC)?;
    ftruncate(&file, size_bytes)?;
    Ok(File::from(file))
}

/// Keeps all threads on one heap: by default each gets an arena of its own, which costs system calls at its
/// start and pages for its life. Call it before threads start.
pub fn share_one_heap() {
    // SAFETY: mallopt takes plain numbers; a refusal (0) leaves the default and harms nothing.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Unmaps the executable's code and constants, which come back page by page as they are used again, and pages of
/// the heap that nothing is in any more. After start-up most of them never are used, and the process is smaller by that.
pub fn give_back_start_up_memory() {
    // SAFETY: it gives unused pages of the heap back to the kernel, and takes the heap's own lock for that.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
    unsafe extern "C" {
        /// First byte of the executable's image; provided by the linker.
        static __executable_start: u8;
        /// First byte behind its code; provided by the linker.
        static etext: u8;
    }
    let page = rustix::param::page_size();
    let start = (&raw const __executable_start).addr().next_multiple_of(page);
    let end = (&raw const etext).addr() / page * page;
    let Some(length) = end.checked_sub(start).filter(|length| *length > 0) else { return };
    // SAFETY: between these symbols lie only segments that are never written (headers, constants, code): the
    // linker puts relocated and writable data behind the code. Dropped pages of such a private file mapping
    // are read from the file again at the next access, so nothing is lost. A refusal harms nothing.
    unsafe { libc::madvise(std::ptr::with_exposed_provenance_mut(start), length, libc::MADV_DONTNEED) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_comes_again() {
        let constants = ["one", "two", "three"].map(str::to_owned);
        give_back_start_up_memory();
        share_one_heap();
        assert_eq!(constants.join("-"), "one-two-three");
        assert_eq!(
            std::thread::spawn(|| format!("{:?}", std::time::Duration::from_millis(1500))).join().unwrap(),
            "1.5s"
        );
    }
}
