//! Which pages of this process's memory were ever touched (proc_pid_pagemap(5)).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bits of an entry: the page is in memory; it was moved to swap.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const ENTRY_BYTES: usize = 8;
/// Entries that are read at once.
const AT_ONCE: usize = 32 << 10;

/// The pages of `size_bytes` of anonymous memory at `address` that have something of their own in them, by their number:
/// what is not among them reads as zeros. Both are multiples of the page size.
///
/// # Errors
/// The kernel does not show it.
pub fn touched_pages(address: u64, size_bytes: u64) -> io::Result<Vec<u64>> {
    let page_bytes = rustix::param::page_size() as u64;
    let pagemap = File::open("/proc/self/pagemap")?;
    let (first, count) = (address / page_bytes, size_bytes / page_bytes);
    let mut touched = Vec::new();
    let mut entries = vec![0; AT_ONCE.min(usize::try_from(count).unwrap_or(AT_ONCE)) * ENTRY_BYTES];
    let mut done = 0;
    while done < count {
        let now = (entries.len() / ENTRY_BYTES).min(usize::try_from(count - done).unwrap_or(AT_ONCE));
        let part = &mut entries[..now * ENTRY_BYTES];
        pagemap.read_exact_at(part, (first + done) * ENTRY_BYTES as u64)?;
        for (index, entry) in part.chunks_exact(ENTRY_BYTES).enumerate() {
            let entry = entry.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
            if entry & (PRESENT | SWAPPED) != 0 {
                touched.push(done + index as u64);
            }
        }
        done += now as u64;
    }
    Ok(touched)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_were_written_are_told() {
        let page_bytes = rustix::param::page_size();
        let flags = rustix::mm::MapFlags::PRIVATE;
        let protection = rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE;
        // SAFETY: a new anonymous mapping of its own, which nothing else knows of.
        let memory =
            unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), 64 * page_bytes, protection, flags) };
        let memory: *mut u8 = memory.unwrap().cast();
        for page in [3, 40] {
            // SAFETY: within the mapping above.
            unsafe { memory.add(page * page_bytes).write(1) };
        }
        let touched = touched_pages(memory.addr() as u64, 64 * page_bytes as u64).unwrap();
        assert!(touched.contains(&3) && touched.contains(&40), "{touched:?}");
        // Huge pages may bring more.
        assert!(touched.len() == 2 || touched.len() == 64, "{touched:?}");
        // SAFETY: the mapping above, which nobody uses any more.
        unsafe { rustix::mm::munmap(memory.cast(), 64 * page_bytes) }.unwrap();
    }
}
