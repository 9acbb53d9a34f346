//! Guest memory as scatter-gather lists that the host kernel reads and writes directly.

use std::sync::Arc;

use vm_memory::bitmap::Bitmap as _;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryError};

use crate::{GuestMemory, IoBuffers, Slots};

impl GuestMemory {
    /// Host buffers for guest-physical pieces `(gpa, len)`, for `readv`, `writev` and io_uring.
    ///
    /// Where a piece crosses regions it becomes several buffers. `written_by_host` says that the kernel writes to
    /// them, unseen: the pages count as written now and again when the buffers are dropped. Fails when any byte
    /// lies outside guest RAM.
    pub fn io_buffers(
        &self,
        pieces: impl IntoIterator<Item = (GuestAddress, u32)>,
        written_by_host: bool,
    ) -> Result<IoBuffers, GuestMemoryError> {
        let mut iovecs = Vec::new();
        let slots = self.snapshot();
        let mut lent = Lent {
            memory: self.clone(),
            slots: Arc::clone(&slots),
            written: Vec::new(),
            behind_gate: Vec::new(),
        };
        for (gpa, len) in pieces {
            if written_by_host {
                lent.written.push((gpa, len));
            }
            if let Some(gate) = self.gate() {
                gate.lend(gpa, len);
                lent.behind_gate.push((gpa, len));
            }
            for slice in slots.get_slices(gpa, len as usize) {
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
        // SAFETY: every iovec points into a mapping owned by `slots`; the owner handed over keeps
        // that mapping alive for as long as the buffers live. Guest RAM is shared with the guest by nature,
        // so concurrent access by the kernel adds no aliasing that was not there.
        Ok(unsafe { IoBuffers::new(iovecs, Arc::new(lent) as Arc<dyn std::any::Any + Send + Sync>) })
    }
}

/// Guest RAM in the host kernel's hands.
struct Lent {
    memory: GuestMemory,
    slots: Arc<Slots>,
    written: Vec<(GuestAddress, u32)>,
    /// What the gate was told of.
    behind_gate: Vec<(GuestAddress, u32)>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        for (gpa, len) in self.written.drain(..) {
            for slice in self.slots.get_slices(gpa, len as usize).flatten() {
                slice.bitmap().mark_dirty(0, slice.len());
            }
        }
        for (gpa, len) in self.behind_gate.drain(..) {
            if let Some(gate) = self.memory.gate() {
                gate.take_back(gpa, len);
            }
        }
    }
}
