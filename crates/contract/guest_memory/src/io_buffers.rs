//! Guest memory as scatter-gather lists that the host kernel reads and writes directly.

use std::sync::Arc;

use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryError};

use crate::{GuestMemory, IoBuffers};

impl GuestMemory {
    /// Host buffers for guest-physical pieces `(gpa, len)`, for `readv`, `writev` and io_uring.
    ///
    /// Where a piece crosses regions it becomes several buffers. `written_by_host` marks the pages dirty
    /// now, since the kernel's writes are not seen later. Fails when any byte lies outside guest RAM.
    pub fn io_buffers(
        &self,
        pieces: impl IntoIterator<Item = (GuestAddress, u32)>,
        written_by_host: bool,
    ) -> Result<IoBuffers, GuestMemoryError> {
        let mut iovecs = Vec::new();
        for (gpa, len) in pieces {
            for slice in self.ram.get_slices(gpa, len as usize) {
                let slice = slice?;
                if written_by_host {
                    slice.bitmap().mark_dirty(0, slice.len());
                }
                iovecs.push(libc::iovec {
                    iov_base: slice.ptr_guard_mut().as_ptr().cast(),
                    iov_len: slice.len(),
                });
            }
        }
        // SAFETY: every iovec points into a mapping owned by `self.ram`; the Arc handed over as owner keeps
        // that mapping alive for as long as the buffers live. Guest RAM is shared with the guest by nature,
        // so concurrent access by the kernel adds no aliasing that was not there.
        Ok(unsafe { IoBuffers::new(iovecs, Arc::clone(&self.ram) as Arc<dyn std::any::Any + Send + Sync>) })
    }
}

use vm_memory::bitmap::Bitmap as _;
