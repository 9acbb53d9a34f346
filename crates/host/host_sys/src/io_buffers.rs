//! Scatter-gather lists for vectored I/O, tied to the owner of the memory that they point to.

use std::any::Any;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

/// Most pieces that one vectored system call takes (`UIO_MAXIOV`, readv(2)).
pub const IOV_MAX: usize = 1024;

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

    /// Forgets the first `done_bytes`, to go on after a transfer that was cut short.
    pub fn advance(&mut self, done_bytes: usize) {
        let mut left = done_bytes;
        let whole = self.iovecs.iter().take_while(|iovec| {
            let passed = iovec.iov_len <= left;
            left -= if passed { iovec.iov_len } else { 0 };
            passed
        });
        let whole = whole.count();
        self.iovecs.drain(..whole);
        if let Some(first) = self.iovecs.first_mut() {
            // Stays inside the piece: `left` is less than its length, or it would have been passed.
            first.iov_base = first.iov_base.cast::<u8>().wrapping_add(left).cast();
            first.iov_len -= left;
        }
    }

    /// The part that begins after `start_bytes` and is `len_bytes` long: the same memory, kept by the same owner.
    /// What would lie beyond the end is left out.
    pub fn slice(&self, start_bytes: usize, len_bytes: usize) -> IoBuffers {
        let (mut skip, mut left) = (start_bytes, len_bytes);
        let mut iovecs = Vec::new();
        for iovec in &self.iovecs {
            let passed = skip.min(iovec.iov_len);
            let take = left.min(iovec.iov_len - passed);
            skip -= passed;
            left -= take;
            if take > 0 {
                // Stays inside the piece: `passed + take` is at most its length.
                let iov_base = iovec.iov_base.cast::<u8>().wrapping_add(passed).cast();
                iovecs.push(libc::iovec { iov_base, iov_len: take });
            }
        }
        IoBuffers { iovecs, _owner: Arc::clone(&self._owner) }
    }

    /// Copies out the contents, at most `limit` bytes.
    pub fn to_vec(&self, limit: usize) -> Vec<u8> {
        let mut out = vec![0; self.len_bytes().min(limit)];
        self.copy_out(&mut out);
        out
    }

    /// Copies the contents to the start of `out` and returns how many bytes fitted.
    pub fn copy_out(&self, out: &mut [u8]) -> usize {
        let mut done = 0;
        for iovec in &self.iovecs {
            let target = &mut out[done..];
            let take = iovec.iov_len.min(target.len());
            // SAFETY: the iovec is valid for `iov_len >= take` bytes by the contract of `new`, and `target` is at
            // least as long; the two cannot overlap, since nothing else leads to what is borrowed mutably.
            unsafe {
                std::ptr::copy_nonoverlapping(iovec.iov_base.cast::<u8>(), target.as_mut_ptr(), take);
            }
            done += take;
        }
        done
    }

    /// Copies `data` into the buffers from their start and returns how many bytes fitted.
    pub fn fill_from(&self, data: &[u8]) -> usize {
        let mut done = 0;
        for iovec in &self.iovecs {
            let take = iovec.iov_len.min(data.len() - done);
            // SAFETY: as in `to_vec`, in the other direction; concurrent writers are the contract of `new`.
            unsafe {
                std::ptr::copy_nonoverlapping(data.as_ptr().add(done), iovec.iov_base.cast::<u8>(), take);
            }
            done += take;
        }
        done
    }
}

/// Reads from `fd` into `buffers`, at its position or one packet; returns the bytes read, 0 at the end.
///
/// # Errors
/// Those of readv(2), among them `EINVAL` for more than [`IOV_MAX`] pieces.
pub fn readv(fd: impl AsFd, buffers: &IoBuffers) -> io::Result<usize> {
    let (pieces, count) = pieces(&buffers.iovecs)?;
    // SAFETY: the iovecs are valid for writing by the contract of `IoBuffers::new` and outlive the call.
    transferred(unsafe { libc::readv(fd.as_fd().as_raw_fd(), pieces, count) })
}

/// Writes `buffers` to `fd`, at its position or as one packet; returns the bytes written.
///
/// # Errors
/// Those of writev(2), among them `EINVAL` for more than [`IOV_MAX`] pieces.
pub fn writev(fd: impl AsFd, buffers: &IoBuffers) -> io::Result<usize> {
    let (pieces, count) = pieces(&buffers.iovecs)?;
    // SAFETY: the iovecs are valid for reading by the contract of `IoBuffers::new` and outlive the call.
    transferred(unsafe { libc::writev(fd.as_fd().as_raw_fd(), pieces, count) })
}

/// Reads from `fd` at `offset_bytes` into at most the first [`IOV_MAX`] pieces; returns the bytes read, 0 at
/// the end of the file. Interrupted calls are not repeated: see [`IoBuffers::advance`] for going on.
///
/// # Errors
/// Those of preadv(2).
pub fn readv_at(fd: impl AsFd, buffers: &IoBuffers, offset_bytes: u64) -> io::Result<usize> {
    let (pieces, count) = pieces(&buffers.iovecs[..buffers.iovecs.len().min(IOV_MAX)])?;
    let offset = file_offset(offset_bytes)?;
    // SAFETY: the iovecs are valid for writing by the contract of `IoBuffers::new` and outlive the call.
    transferred(unsafe { libc::preadv(fd.as_fd().as_raw_fd(), pieces, count, offset) })
}

/// Writes at most the first [`IOV_MAX`] pieces to `fd` at `offset_bytes`; returns the bytes written.
///
/// # Errors
/// Those of pwritev(2).
pub fn writev_at(fd: impl AsFd, buffers: &IoBuffers, offset_bytes: u64) -> io::Result<usize> {
    let (pieces, count) = pieces(&buffers.iovecs[..buffers.iovecs.len().min(IOV_MAX)])?;
    let offset = file_offset(offset_bytes)?;
    // SAFETY: the iovecs are valid for reading by the contract of `IoBuffers::new` and outlive the call.
    transferred(unsafe { libc::pwritev(fd.as_fd().as_raw_fd(), pieces, count, offset) })
}

/// Pointer and count as the system calls take them; a count beyond an int is too long for the kernel, too.
fn pieces(iovecs: &[libc::iovec]) -> io::Result<(*const libc::iovec, libc::c_int)> {
    let count = iovecs.len().try_into().map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    Ok((iovecs.as_ptr(), count))
}

/// An offset as the system calls take it.
fn file_offset(offset_bytes: u64) -> io::Result<libc::off_t> {
    offset_bytes.try_into().map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
}

/// The result of a transfer: bytes, or the error that `errno` tells.
fn transferred(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
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
        let mut out = [0; 3];
        assert_eq!((buffers.copy_out(&mut out), &out), (3, b"abc"));
        let mut long = [7; 6];
        assert_eq!((buffers.copy_out(&mut long), &long), (4, b"abcd\x07\x07"));
        assert_eq!(IoBuffers::empty().len_bytes(), 0);
    }

    #[test]
    fn advance_passes_over_whole_and_partial_pieces() {
        let mut data = *b"abcdefgh";
        let start = data.as_mut_ptr();
        let piece =
            |at: usize, len: usize| libc::iovec { iov_base: start.wrapping_add(at).cast(), iov_len: len };
        // SAFETY: the pieces lie in `data`, which outlives the buffers and is not used meanwhile.
        let mut buffers =
            unsafe { IoBuffers::new(vec![piece(0, 2), piece(2, 0), piece(2, 4), piece(6, 2)], Arc::new(())) };
        buffers.advance(3);
        assert_eq!(buffers.to_vec(usize::MAX), b"defgh");
        buffers.advance(3);
        assert_eq!(buffers.to_vec(usize::MAX), b"gh");
        buffers.advance(99);
        assert_eq!(buffers.len_bytes(), 0);
    }

    #[test]
    fn a_slice_is_the_same_memory() {
        let whole = IoBuffers::from_vec(b"abcdefgh".to_vec());
        let slice = whole.slice(2, 3);
        assert_eq!(slice.to_vec(usize::MAX), b"cde");
        slice.fill_from(b"XYZ");
        assert_eq!(whole.to_vec(usize::MAX), b"abXYZfgh");
        assert_eq!(whole.slice(6, 99).len_bytes(), 2);
        assert_eq!(whole.slice(9, 1).len_bytes(), 0);
    }

    #[test]
    fn vectored_calls_move_bytes() {
        let file = crate::memory::memfd("test", 16).unwrap();
        assert_eq!(writev_at(&file, &IoBuffers::from_vec(b"hello".to_vec()), 4).unwrap(), 5);
        let out = IoBuffers::from_vec(vec![0; 8]);
        assert_eq!(readv_at(&file, &out, 4).unwrap(), 8);
        assert_eq!(out.to_vec(5), b"hello");
        assert_eq!(readv_at(&file, &out, 16).unwrap(), 0);
        assert_eq!(readv_at(&file, &out, u64::MAX).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert_eq!(writev(&file, &IoBuffers::from_vec(b"xy".to_vec())).unwrap(), 2);
        assert_eq!(readv(&file, &IoBuffers::from_vec(vec![0; 2])).unwrap(), 2);
    }
}
