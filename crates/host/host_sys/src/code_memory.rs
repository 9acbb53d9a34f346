//! Memory for generated machine code: one file, mapped twice. One mapping is written and never executed, the other is
//! executed and never written.

use std::ffi::c_void;
use std::io;
use std::ptr::NonNull;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Code memory of a fixed size. Pages cost nothing before they are written.
#[derive(Debug)]
pub struct CodeMemory {
    writable: NonNull<u8>,
    executable: NonNull<u8>,
    size_bytes: usize,
}

// SAFETY: the mappings belong to this value alone, and nothing in it is tied to a thread.
unsafe impl Send for CodeMemory {}

impl CodeMemory {
    /// Maps `size_bytes`, which is a multiple of the page size. Fails with what the kernel answers: no memory, or no
    /// executable mappings of files for this process.
    pub fn new(size_bytes: usize) -> io::Result<CodeMemory> {
        let file = memfd_create("yagura-code", MemfdFlags::CLOEXEC)?;
        ftruncate(&file, size_bytes as u64)?;
        let map = |protection| {
            // SAFETY: a new mapping at a place of the kernel's choice replaces nothing.
            let start =
                unsafe { mmap(std::ptr::null_mut(), size_bytes, protection, MapFlags::SHARED, &file, 0) }?;
            NonNull::new(start.cast::<u8>()).ok_or_else(|| io::Error::other("mapped at zero"))
        };
        let writable = map(ProtFlags::READ | ProtFlags::WRITE)?;
        match map(ProtFlags::READ | ProtFlags::EXEC) {
            Ok(executable) => Ok(CodeMemory { writable, executable, size_bytes }),
            Err(error) => {
                unmap(writable, size_bytes);
                Err(error)
            }
        }
    }

    /// Size in bytes.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Where the code at `offset` is executed. An address, to be called only by who knows what was written there.
    pub fn address(&self, offset: usize) -> u64 {
        self.executable.as_ptr() as u64 + offset as u64
    }

    /// Writes `bytes` at `offset`. Panics when they are not inside.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset.checked_add(bytes.len());
        assert!(end.is_some_and(|end| end <= self.size_bytes), "code leaves its memory");
        // SAFETY: inside the writable mapping (checked above), which nobody has a reference to.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.writable.as_ptr().add(offset), bytes.len());
        }
    }
}

impl Drop for CodeMemory {
    fn drop(&mut self) {
        unmap(self.writable, self.size_bytes);
        unmap(self.executable, self.size_bytes);
    }
}

fn unmap(start: NonNull<u8>, size_bytes: usize) {
    // SAFETY: exactly what `new` mapped, and its owner is gone.
    // A failure leaves an unused mapping behind, which nobody can mend.
    let _unused_mapping = unsafe { munmap(start.as_ptr().cast::<c_void>(), size_bytes) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn what_is_written_is_executed() {
        let mut memory = CodeMemory::new(0x2000).unwrap();
        // mov eax, 42; ret
        memory.write(0x1ff0, &[0xb8, 42, 0, 0, 0, 0xc3]);
        // SAFETY: the function written above.
        let code: extern "C" fn() -> u32 = unsafe { std::mem::transmute(memory.address(0x1ff0)) };
        assert_eq!(code(), 42);
    }

    #[test]
    #[should_panic(expected = "leaves its memory")]
    fn writes_stay_inside() {
        CodeMemory::new(0x1000).unwrap().write(0xfff, &[0, 0]);
    }
}
