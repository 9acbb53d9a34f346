//! Asynchronous file I/O: io_uring behind a safe interface.
//!
//! ```text
//! push ─► submission queue ──submit──► kernel ──event──► reap ─► Completion
//! ```
//!
//! The kernel reads and writes the buffers of an operation at any time until its completion, so the ring owns
//! them from [`push`](Ring::push) to [`reap`](Ring::reap), and a dropped ring first waits for what is in
//! flight.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::types::{Fd, FsyncFlags};
use io_uring::{IoUring, Probe, opcode, squeue};
use vmm_sys_util::eventfd::EventFd;

use crate::io_buffers::{IOV_MAX, IoBuffers};
use crate::poll::{event_fd, new_event};

/// Pause before the kernel is asked again when it had no memory for a submission.
const RETRY_DELAY: Duration = Duration::from_millis(1);

/// What the kernel is to do with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Read into the buffers from here; at most the first [`IOV_MAX`] pieces.
    Read {
        /// Offset in the file.
        offset_bytes: u64,
    },
    /// Write the buffers here; at most the first [`IOV_MAX`] pieces.
    Write {
        /// Offset in the file.
        offset_bytes: u64,
    },
    /// Bring what was written to stable storage (fsync(2)).
    Sync {
        /// Leave out metadata that reading does not need (fdatasync(2)).
        data_only: bool,
    },
    /// Give the range's room back; it reads as zeros (fallocate(2), `FALLOC_FL_PUNCH_HOLE`).
    PunchHole {
        /// First byte.
        offset_bytes: u64,
        /// Length.
        len_bytes: u64,
    },
    /// Make the range read as zeros and keep its room (fallocate(2), `FALLOC_FL_ZERO_RANGE`).
    ZeroRange {
        /// First byte.
        offset_bytes: u64,
        /// Length.
        len_bytes: u64,
    },
}

/// One operation on its way to the kernel.
#[derive(Debug)]
pub struct Submission<T> {
    /// Comes back with the completion.
    pub user_data: T,
    /// The file, kept open until the completion.
    pub file: Arc<File>,
    /// What to do.
    pub operation: Operation,
    /// Memory to read into or to write from; empty for the other operations.
    pub buffers: IoBuffers,
}

/// One operation that the kernel has finished.
#[derive(Debug)]
pub struct Completion<T> {
    /// As given to [`Ring::push`].
    pub user_data: T,
    /// Bytes transferred, which may be fewer than asked for; 0 for operations without buffers.
    pub result: io::Result<u32>,
    /// The operation's buffers, the kernel's no more.
    pub buffers: IoBuffers,
}

/// An io_uring instance. May move between threads; a thread must not end while its operations are in flight.
pub struct Ring<T> {
    uring: IoUring,
    event: EventFd,
    /// Operations that the kernel has or may have; the index is the completion's `user_data`.
    slots: Vec<Option<Submission<T>>>,
    free: Vec<usize>,
}

impl<T> Ring<T> {
    /// A ring with room for `entries` operations a submission and twice as many in flight.
    ///
    /// # Errors
    /// Whatever io_uring_setup(2) answers where io_uring is absent (`ENOSYS`), forbidden (`EPERM`) or given
    /// no memory; `ENOSYS` too where it lacks one of our operations.
    pub fn new(entries: u32) -> io::Result<Ring<T>> {
        let uring = IoUring::new(entries)?;
        let mut probe = Probe::new();
        uring.submitter().register_probe(&mut probe)?;
        let needed =
            [opcode::Readv::CODE, opcode::Writev::CODE, opcode::Fsync::CODE, opcode::Fallocate::CODE];
        if !needed.iter().all(|code| probe.is_supported(*code)) {
            return Err(io::Error::from_raw_os_error(libc::ENOSYS));
        }
        let event = new_event()?;
        uring.submitter().register_eventfd(event.as_raw_fd())?;
        Ok(Ring { uring, event, slots: Vec::new(), free: Vec::new() })
    }

    /// Readable when there are completions to [`reap`](Ring::reap).
    pub fn event(&self) -> &EventFd {
        &self.event
    }

    /// Descriptor of [`event`](Ring::event).
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        event_fd(&self.event)
    }

    /// Most operations that can be in flight.
    pub fn capacity(&self) -> usize {
        self.uring.params().cq_entries() as usize
    }

    /// Operations pushed and not yet reaped.
    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Takes an operation, to be started by the next [`submit`](Ring::submit) or earlier. Gives it back when
    /// [`capacity`](Ring::capacity) operations are in flight or the kernel takes no more now.
    pub fn push(&mut self, submission: Submission<T>) -> Result<(), Submission<T>> {
        // Bounded by the completion queue, so that the kernel never has to set completions aside.
        if self.in_flight() >= self.capacity() {
            return Err(submission);
        }
        if self.uring.submission().is_full() && (self.submit().is_err() || self.uring.submission().is_full())
        {
            return Err(submission);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        let entry = entry_of(&submission).user_data(slot as u64);
        self.slots[slot] = Some(submission);
        // SAFETY: the entry points to the iovec list and the memory of the submission's `IoBuffers` and names
        // the descriptor of its `Arc<File>`. All stay where they are (the list is on the heap, the slot is
        // not touched) until `reap` has seen the completion; `drop` waits for it, or leaks the slots.
        let pushed = unsafe { self.uring.submission().push(&entry) };
        match pushed {
            Ok(()) => Ok(()),
            Err(_) => Err(self.take_slot(slot).expect("the slot was filled above")),
        }
    }

    /// Hands everything pushed to the kernel. When the kernel is short of memory the rest stays queued and
    /// the event fires, so that the owner comes back to try again.
    ///
    /// # Errors
    /// Those of io_uring_enter(2) that do not pass; what was pushed stays queued.
    pub fn submit(&mut self) -> io::Result<()> {
        while !self.uring.submission().is_empty() {
            match self.enter(0) {
                Ok(Entered::Some) => {}
                Ok(Entered::TryLater) => {
                    std::thread::sleep(RETRY_DELAY);
                    // The counter at its end also means readable.
                    let _ = self.event.write(1);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Moves the completions that are there to `out`, without waiting, and clears the event.
    pub fn reap(&mut self, out: &mut Vec<Completion<T>>) {
        // Cleared before the look: a completion that arrives later fires it anew. EAGAIN: nothing to clear.
        let _ = self.event.read();
        let finished: Vec<(u64, i32)> =
            self.uring.completion().map(|entry| (entry.user_data(), entry.result())).collect();
        for (slot, result) in finished {
            let Some(submission) = self.take_slot(slot as usize) else { continue };
            let Submission { user_data, file: _, operation: _, buffers } = submission;
            let result = u32::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
            out.push(Completion { user_data, result, buffers });
        }
    }

    /// Waits until at least one operation in flight has finished and reaps; returns at once with none.
    ///
    /// # Errors
    /// Those of io_uring_enter(2) that do not pass.
    pub fn wait(&mut self, out: &mut Vec<Completion<T>>) -> io::Result<()> {
        let before = out.len();
        self.reap(out);
        while out.len() == before && self.in_flight() > 0 {
            if let Entered::TryLater = self.enter(1)? {
                std::thread::sleep(RETRY_DELAY);
            }
            self.reap(out);
        }
        Ok(())
    }

    /// Waits until nothing is in flight.
    ///
    /// # Errors
    /// As for [`wait`](Ring::wait).
    pub fn wait_all(&mut self, out: &mut Vec<Completion<T>>) -> io::Result<()> {
        while self.in_flight() > 0 {
            self.wait(out)?;
        }
        Ok(())
    }

    /// One io_uring_enter(2), repeated when interrupted.
    fn enter(&mut self, wait_for: usize) -> io::Result<Entered> {
        loop {
            let error = match self.uring.submit_and_wait(wait_for) {
                Ok(0) if wait_for == 0 => return Ok(Entered::TryLater),
                Ok(_) => return Ok(Entered::Some),
                Err(error) => error,
            };
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EAGAIN | libc::EBUSY | libc::ENOMEM) => return Ok(Entered::TryLater),
                _ => return Err(error),
            }
        }
    }

    fn take_slot(&mut self, slot: usize) -> Option<Submission<T>> {
        let submission = self.slots.get_mut(slot)?.take()?;
        self.free.push(slot);
        Some(submission)
    }
}

/// What came of one call into the kernel.
enum Entered {
    /// It took something, or something finished.
    Some,
    /// It is short of resources for now.
    TryLater,
}

/// The operation in the kernel's form, without user data.
fn entry_of<T>(submission: &Submission<T>) -> squeue::Entry {
    let fd = Fd(submission.file.as_raw_fd());
    let iovecs = submission.buffers.as_iovecs();
    let count = iovecs.len().min(IOV_MAX) as u32;
    match submission.operation {
        Operation::Read { offset_bytes } => {
            opcode::Readv::new(fd, iovecs.as_ptr(), count).offset(offset_bytes).build()
        }
        Operation::Write { offset_bytes } => {
            opcode::Writev::new(fd, iovecs.as_ptr(), count).offset(offset_bytes).build()
        }
        Operation::Sync { data_only } => {
            let flags = if data_only { FsyncFlags::DATASYNC } else { FsyncFlags::empty() };
            opcode::Fsync::new(fd).flags(flags).build()
        }
        Operation::PunchHole { offset_bytes, len_bytes } => {
            allocate(fd, libc::FALLOC_FL_PUNCH_HOLE, offset_bytes, len_bytes)
        }
        Operation::ZeroRange { offset_bytes, len_bytes } => {
            allocate(fd, libc::FALLOC_FL_ZERO_RANGE, offset_bytes, len_bytes)
        }
    }
}

/// fallocate(2) that never changes the file's size.
fn allocate(fd: Fd, mode: i32, offset_bytes: u64, len_bytes: u64) -> squeue::Entry {
    opcode::Fallocate::new(fd, len_bytes).offset(offset_bytes).mode(mode | libc::FALLOC_FL_KEEP_SIZE).build()
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        if self.wait_all(&mut Vec::new()).is_err() {
            // The kernel may still write to these buffers: better leaked than freed.
            std::mem::forget(std::mem::take(&mut self.slots));
        }
    }
}

impl<T> fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring({} of {} in flight)", self.in_flight(), self.capacity())
    }
}

#[cfg(test)]
mod tests;
