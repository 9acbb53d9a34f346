//! What is read from: a disk, a part of it, and a bound on how much is read in all.

use std::cell::Cell;
use std::io;
use std::ops::Deref;
use std::rc::Rc;

/// Something of a fixed length that can be read at any place: a disk, a partition, an image file.
pub trait ReadAt {
    /// Its length.
    fn len_bytes(&self) -> u64;

    /// Fills `buffer` from `offset_bytes` on.
    ///
    /// # Errors
    ///
    /// When not all of the buffer could be filled; beyond the end that is [`io::ErrorKind::UnexpectedEof`].
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for [u8] {
    fn len_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset_bytes).ok();
        let bytes = from.and_then(|from| self.get(from..from.checked_add(buffer.len())?));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn len_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_at(offset_bytes, buffer)
    }
}

/// A part of something: a partition of a disk.
pub struct Slice<W = Rc<dyn ReadAt>> {
    whole: W,
    start_bytes: u64,
    len_bytes: u64,
}

impl<W: Deref<Target: ReadAt>> Slice<W> {
    /// `len_bytes` of `whole` from `start_bytes` on, or as much of it as there is.
    pub fn new(whole: W, start_bytes: u64, len_bytes: u64) -> Slice<W> {
        let there = whole.len_bytes().saturating_sub(start_bytes);
        Slice { start_bytes, len_bytes: len_bytes.min(there), whole }
    }
}

impl<W: Deref<Target: ReadAt>> ReadAt for Slice<W> {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset_bytes.checked_add(buffer.len() as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        if end > self.len_bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.whole.read_at(self.start_bytes + offset_bytes, buffer)
    }
}

/// A disk of which only so much is read: what keeps structures that lead in circles from being followed for ever.
pub struct Limited {
    inner: Rc<dyn ReadAt>,
    left_bytes: Cell<u64>,
}

impl Limited {
    /// What each read costs beside its bytes, so that many small ones come to an end as well.
    const READ_COSTS_BYTES: u64 = 512;

    /// Lets `budget_bytes` be read of `inner`; each read counts 512 bytes beside its own.
    pub fn new(inner: Rc<dyn ReadAt>, budget_bytes: u64) -> Limited {
        Limited { inner, left_bytes: Cell::new(budget_bytes) }
    }

    /// Begins a new budget.
    pub fn refill(&self, budget_bytes: u64) {
        self.left_bytes.set(budget_bytes);
    }
}

impl ReadAt for Limited {
    fn len_bytes(&self) -> u64 {
        self.inner.len_bytes()
    }

    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<()> {
        let cost = buffer.len() as u64 + Self::READ_COSTS_BYTES;
        let Some(left) = self.left_bytes.get().checked_sub(cost) else {
            self.left_bytes.set(0);
            return Err(io::Error::other("its structures lead to more reading than any sound disk needs"));
        };
        self.left_bytes.set(left);
        self.inner.read_at(offset_bytes, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_ends_where_it_ends() {
        let whole: Rc<dyn ReadAt> = Rc::new((0..100).collect::<Vec<u8>>());
        let slice = Slice::new(whole.clone(), 90, 20);
        assert_eq!(slice.len_bytes(), 10);
        let mut buffer = [0; 4];
        slice.read_at(6, &mut buffer).unwrap();
        assert_eq!(buffer, [96, 97, 98, 99]);
        assert!(slice.read_at(7, &mut buffer).is_err());
        assert!(slice.read_at(u64::MAX, &mut buffer).is_err());
        assert_eq!(Slice::new(whole, u64::MAX, u64::MAX).len_bytes(), 0);
    }

    #[test]
    fn a_budget_is_used_up_by_small_reads_too() {
        let limited = Limited::new(Rc::new(vec![0; 4096]), 2 * 512 + 10);
        let mut buffer = [0; 5];
        assert!(limited.read_at(0, &mut buffer).is_ok());
        assert!(limited.read_at(0, &mut buffer).is_ok());
        assert!(limited.read_at(0, &mut buffer).is_err());
        limited.refill(1000);
        assert!(limited.read_at(0, &mut buffer).is_ok());
    }
}
