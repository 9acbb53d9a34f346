//! A disk queue on io_uring.
//!
//! ```text
//! submit ─► Transfer ──all of it──► (Sync, when durable) ──► done
//!    │         └──cut short──► Transfer of the rest
//!    ├────► Allocate ──refused──► aside
//!    └────► aside: a thread that does what the ring cannot
//! ```

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use guest_memory::IoBuffers;
use host_sys::ring::{Completion, Operation, Ring, Submission};
use rustix::io::Errno;
use vmm_sys_util::eventfd::EventFd;

use super::storage::Storage;
use crate::contract::{DiskCompletion, DiskOperation, DiskQueue, DiskRequest};
use crate::host_file::Kind;
use crate::thread_queue::{Serve, ThreadQueue};
use crate::transfer::is_unsupported;
use crate::trouble::{ended_early, sync_failed};

/// Operations submitted at once; twice as many can be in flight. Small: each queue pays for its ring.
const RING_ENTRIES: u32 = 64;

/// What the ring is doing for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Reading or writing; the ring has the buffers.
    Transfer,
    /// Punching a hole or zeroing a range.
    Allocate,
    /// Bringing it to stable storage.
    Sync,
}

/// A request in progress. Its range is what is still to be done.
#[derive(Debug)]
struct Active {
    request: DiskRequest,
    stage: Stage,
}

/// See the module.
pub(crate) struct RingQueue {
    storage: Arc<Storage>,
    ring: Ring<Active>,
    /// For what the ring had no room for yet, oldest first.
    waiting: VecDeque<Submission<Active>>,
    /// Started with the first request that needs it. Signals the ring's event.
    aside: Option<ThreadQueue>,
    done: Vec<DiskCompletion>,
    /// Kept for its room.
    reaped: Vec<Completion<Active>>,
}

impl RingQueue {
    /// # Errors
    /// io_uring is absent or refused.
    pub(crate) fn new(storage: Arc<Storage>) -> io::Result<RingQueue> {
        let ring = Ring::new(RING_ENTRIES)?;
        Ok(RingQueue {
            storage,
            ring,
            waiting: VecDeque::new(),
            aside: None,
            done: Vec::new(),
            reaped: Vec::new(),
        })
    }

    /// Signalled for each completion; others may signal it, too.
    pub(crate) fn event(&self) -> &EventFd {
        self.ring.event()
    }

    /// Takes up a request that was checked.
    fn start(&mut self, mut request: DiskRequest) {
        if request.operation != DiskOperation::Flush && request.length_bytes == 0 {
            return self.finish(request.id, Ok(()));
        }
        match (request.operation, self.storage.kind) {
            (DiskOperation::Read | DiskOperation::Write, _) => {
                // Drops pieces without length, of which a transfer could consist otherwise.
                request.buffers.advance(0);
                self.push(Active { request, stage: Stage::Transfer });
            }
            (DiskOperation::Flush, _) => self.push(Active { request, stage: Stage::Sync }),
            (DiskOperation::Discard | DiskOperation::WriteZeroes { .. }, Kind::File) => {
                self.push(Active { request, stage: Stage::Allocate });
            }
            (DiskOperation::Discard | DiskOperation::WriteZeroes { .. }, Kind::BlockDevice) => {
                self.set_aside(request);
            }
        }
    }

    /// Gives the ring the next operation of a request, or remembers it until there is room.
    fn push(&mut self, mut active: Active) {
        let buffers = std::mem::replace(&mut active.request.buffers, IoBuffers::empty());
        let operation = operation_of(&active);
        let file = Arc::clone(&self.storage.file);
        let submission = Submission { user_data: active, file, operation, buffers };
        if !self.waiting.is_empty() {
            self.waiting.push_back(submission);
        } else if let Err(submission) = self.ring.push(submission) {
            self.waiting.push_back(submission);
        }
    }

    /// Goes on with what the ring has finished.
    fn take_in(&mut self, reaped: &mut Vec<Completion<Active>>) {
        for Completion { user_data: mut active, result, buffers } in reaped.drain(..) {
            active.request.buffers = buffers;
            if active.request.operation.is_write() && active.stage != Stage::Sync {
                self.storage.dirty.mark(active.request.offset_bytes, active.request.length_bytes);
            }
            match result {
                Ok(done_bytes) => self.proceed(active, u64::from(done_bytes)),
                Err(error) if is_for_a_thread(active.stage, &error) => self.set_aside(active.request),
                Err(error) if active.request.operation == DiskOperation::Flush => {
                    self.finish(active.request.id, Err(sync_failed(error)));
                }
                Err(error) => self.finish(active.request.id, Err(error)),
            }
        }
    }

    /// The ring did something for a request: what comes next?
    fn proceed(&mut self, mut active: Active, done_bytes: u64) {
        let Active { request, stage } = &mut active;
        if *stage == Stage::Transfer {
            if done_bytes == 0 {
                return self.finish(request.id, Err(ended_early()));
            }
            request.buffers.advance(done_bytes as usize);
            request.offset_bytes += done_bytes;
            request.length_bytes = request.length_bytes.saturating_sub(done_bytes);
            if request.length_bytes > 0 {
                return self.push(active);
            }
        }
        if *stage != Stage::Sync && request.durable && request.operation.is_write() {
            *stage = Stage::Sync;
            return self.push(active);
        }
        self.finish(request.id, Ok(()));
    }

    /// Lets a thread do what is left of a request, or does it at once where the host has no thread left.
    fn set_aside(&mut self, request: DiskRequest) {
        let started = match self.aside.take() {
            Some(aside) => Ok(aside),
            None => self
                .ring
                .event()
                .try_clone()
                .and_then(|event| ThreadQueue::with_event(Arc::clone(&self.storage) as Arc<_>, 1, event)),
        };
        match started {
            Ok(mut aside) => {
                aside.submit(request);
                self.aside = Some(aside);
            }
            Err(error) => {
                tracing::debug!(%error, "no thread for a disk's request: it is served where it is");
                let id = request.id;
                let result = self.storage.perform(request);
                self.finish(id, result);
            }
        }
    }

    /// Completes a request.
    fn finish(&mut self, id: u64, result: io::Result<()>) {
        self.done.push(DiskCompletion { id, result });
    }

    /// Makes the owner look where something completed without the ring.
    fn signal_done(&self) {
        if !self.done.is_empty() {
            // The counter at its end also means readable.
            let _ = self.ring.event().write(1);
        }
    }

    /// Hands the kernel what was pushed and what has been waiting for room.
    fn fill_ring(&mut self) {
        while let Some(submission) = self.waiting.pop_front() {
            if let Err(submission) = self.ring.push(submission) {
                self.waiting.push_front(submission);
                break;
            }
        }
        if let Err(error) = self.ring.submit() {
            self.give_up_waiting(&error);
        }
    }

    /// The ring has failed for good: what it has not begun completes with an error.
    fn give_up_waiting(&mut self, error: &io::Error) {
        tracing::error!(disk = %self.storage.path.display(), %error, "io_uring takes no more requests");
        for submission in std::mem::take(&mut self.waiting) {
            self.finish(submission.user_data.request.id, Err(io::Error::from(error.kind())));
        }
    }
}

impl DiskQueue for RingQueue {
    fn submit(&mut self, request: DiskRequest) {
        match request.check(self.storage.size_bytes()) {
            Ok(()) => self.start(request),
            Err(error) => self.finish(request.id, Err(error)),
        }
        self.signal_done();
    }

    fn commit(&mut self) {
        self.fill_ring();
        self.signal_done();
    }

    fn completion_event(&self) -> BorrowedFd<'_> {
        self.ring.event_fd()
    }

    fn completions(&mut self, out: &mut Vec<DiskCompletion>) {
        // Clears the event that the thread aside signals, too: both are looked at afterwards.
        let mut reaped = std::mem::take(&mut self.reaped);
        self.ring.reap(&mut reaped);
        self.take_in(&mut reaped);
        self.reaped = reaped;
        self.fill_ring();
        if let Some(aside) = &mut self.aside {
            aside.take_done(&mut self.done);
        }
        out.append(&mut self.done);
    }

    fn drain(&mut self, out: &mut Vec<DiskCompletion>) {
        self.fill_ring();
        while self.ring.in_flight() > 0 || !self.waiting.is_empty() {
            let mut reaped = std::mem::take(&mut self.reaped);
            if let Err(error) = self.ring.wait(&mut reaped) {
                self.give_up_waiting(&error);
                break;
            }
            self.take_in(&mut reaped);
            self.reaped = reaped;
            self.fill_ring();
        }
        if let Some(aside) = &mut self.aside {
            aside.drain(&mut self.done);
        }
        out.append(&mut self.done);
    }
}

/// What the ring is asked to do next for a request.
fn operation_of(active: &Active) -> Operation {
    let DiskRequest { operation, offset_bytes, length_bytes: len_bytes, .. } = active.request;
    match (active.stage, operation) {
        (Stage::Sync, _) | (_, DiskOperation::Flush) => Operation::Sync { data_only: true },
        (_, DiskOperation::Read) => Operation::Read { offset_bytes },
        (_, DiskOperation::Write) => Operation::Write { offset_bytes },
        (_, DiskOperation::WriteZeroes { may_unmap: false }) => {
            Operation::ZeroRange { offset_bytes, len_bytes }
        }
        (_, DiskOperation::Discard | DiskOperation::WriteZeroes { may_unmap: true }) => {
            Operation::PunchHole { offset_bytes, len_bytes }
        }
    }
}

/// Whether a request that the ring answered with `error` is to be tried with blocking system calls.
fn is_for_a_thread(stage: Stage, error: &io::Error) -> bool {
    let again = matches!(Errno::from_io_error(error), Some(Errno::AGAIN | Errno::INTR | Errno::CANCELED));
    again || (stage == Stage::Allocate && is_unsupported(error))
}
