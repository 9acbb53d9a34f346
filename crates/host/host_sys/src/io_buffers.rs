//! Scatter-gather lists for vectored I/O, tied to the owner of the memory that they point to.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Memory that the kernel may read or write on behalf of one I/O request.
///
/// Holds its owner, so that the memory stays mapped until the request is dropped; whoever submits
/// asynchronous I/O keeps the `IoBuffers` until the completion arrives.
pub struct IoBuffers {
    iovecs: Vec<libc::iovec>,
    _owner: Arc<dyn Any + Send + Sync>,
}

// SAFETY: the iovecs are plain addresses into memory kept alive by `_owner`, which is itself Send + Sync;
// `new` requires that access from any thread is sound.
unsafe impl Send for IoBuffers {}
// SAFETY: as for Send; shared access only reads the list.
unsafe impl Sync for IoBuffers {}

impl IoBuffers {
    /// Ties `iovecs` to the owner of the memory behind them.
    ///
    /// # Safety
    /// Each iovec must be readable and writable memory for as long as `owner` lives, and concurrent access
    /// to it (by the kernel, by other threads) must be sound, as it is for guest RAM.
    pub unsafe fn new(iovecs: Vec<libc::iovec>, owner: Arc<dyn Any + Send + Sync>) -> IoBuffers {
        IoBuffers { iovecs, _owner: owner }
    }

    /// A buffer of our own of `data`, for requests that do not concern guest memory.
    pub fn from_vec(data: Vec<u8>) -> IoBuffers {
        let owner = Arc::new(OwnedBytes(std::cell::UnsafeCell::new(data.into_boxed_slice())));
        // SAFETY: this is the only reference to the freshly made box; the address stays the same in the Arc.
        let slice = unsafe { &mut *owner.0.get() };
        let iovec = libc::iovec { iov_base: slice.as_mut_ptr().cast(), iov_len: slice.len() };
        // SAFETY: the owner keeps the box alive and is never accessed except through the iovec.
        unsafe { IoBuffers::new(vec![iovec], owner) }
    }

    /// No memory at all, for flush and discard.
    pub fn empty() -> IoBuffers {
        IoBuffers { iovecs: Vec::new(), _owner: Arc::new(()) }
    }

    /// The list in the kernel's form. Valid while `self` lives.
    pub fn as_iovecs(&self) -> &[libc::iovec] {
        &self.iovecs
    }

    /// Total length in bytes.
    pub fn len_bytes(&self) -> usize {
        self.iovecs.iter().map(|iovec| iovec.iov_len).sum()
    }

    /// Copies out the contents, at most `limit` bytes.
    pub fn to_vec(&self, limit: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len_bytes().min(limit));
        for iovec in &self.iovecs {
            let take = iovec.iov_len.min(limit - out.len());
            let start = out.len();
            out.resize(start + take, 0);
            // SAFETY: the iovec is valid for `iov_len >= take` bytes by the contract of `new`, and the
            // destination was just made that long; the two cannot overlap, since `out` is our own.
            unsafe {
                std::ptr::copy_nonoverlapping(iovec.iov_base.cast::<u8>(), out.as_mut_ptr().add(start), take)
            };
        }
        out
    }

    /// Copies `data` into the buffers from their start and returns how many bytes fitted.
    pub fn fill_from(&self, data: &[u8]) -> usize {
        let mut done = 0;
        for iovec in &self.iovecs {
            let take = iovec.iov_len.min(data.len() - done);
            // SAFETY: as in `to_vec`, in the other direction; concurrent writers are the contract of `new`.
            unsafe {
                std::ptr::copy_nonoverlapping(data.as_ptr().add(done), iovec.iov_base.cast::<u8>(), take)
            };
            done += take;
        }
        done
    }
}

impl fmt::Debug for IoBuffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IoBuffers({} pieces, {} bytes)", self.iovecs.len(), self.len_bytes())
    }
}

struct OwnedBytes(std::cell::UnsafeCell<Box<[u8]>>);

// SAFETY: the bytes are reached only through the iovec handed to the kernel, never through this type.
unsafe impl Sync for OwnedBytes {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_in_and_out_within_bounds() {
        let buffers = IoBuffers::from_vec(vec![0; 4]);
        assert_eq!(buffers.fill_from(b"abcdef"), 4);
        assert_eq!(buffers.to_vec(usize::MAX), b"abcd");
        assert_eq!(buffers.to_vec(2), b"ab");
        assert_eq!(IoBuffers::empty().len_bytes(), 0);
    }
}
