//! A queue of an image: what is where it can stay goes straight to io_uring, the rest to threads.
//!
//! ```text
//! submit ─► all of it in the file, tables in memory ─► pieces ─► ring ─► done
//!    └────► anything else ─► aside: Image::perform in a thread ─────────► done
//! ```

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use super::image::Image;
use super::lookup::{Extent, Piece};
use crate::contract::{DiskCompletion, DiskOperation, DiskQueue, DiskRequest};
use crate::image_file::fill_with_zeros;
use crate::raw::RingQueue;
use crate::thread_queue::{Serve, ThreadQueue};

/// Threads for what the ring does not do; started with the first request of that kind.
const THREADS_ASIDE: usize = 2;
/// Most pieces of a request that go to the ring.
const PIECES_MAX: usize = 16;

/// A request whose pieces are in the ring.
struct Active {
    id: u64,
    durable: bool,
    /// Of the look at the tables.
    generation: u64,
    pieces_left: usize,
    result: io::Result<()>,
}

/// See the module.
pub(super) struct ImageQueue {
    image: Arc<Image>,
    /// On the image's file, for any place in it.
    ring: RingQueue,
    aside: Option<ThreadQueue>,
    /// Requests in the ring; the index is the id of their pieces.
    active: Vec<Option<Active>>,
    free: Vec<usize>,
    done: Vec<DiskCompletion>,
    /// Kept for its room.
    reaped: Vec<DiskCompletion>,
}

impl ImageQueue {
    pub(super) fn new(image: Arc<Image>, ring: RingQueue) -> ImageQueue {
        ImageQueue {
            image,
            ring,
            aside: None,
            active: Vec::new(),
            free: Vec::new(),
            done: Vec::new(),
            reaped: Vec::new(),
        }
    }

    /// Starts a request on the ring, if nothing else is needed for it; gives it back otherwise.
    fn start_direct(&mut self, request: DiskRequest) -> Result<(), DiskRequest> {
        let write = match request.operation {
            DiskOperation::Read => false,
            DiskOperation::Write => true,
            DiskOperation::Flush | DiskOperation::Discard | DiskOperation::WriteZeroes { .. } => {
                return Err(request);
            }
        };
        let DiskRequest { offset_bytes, length_bytes, .. } = request;
        if length_bytes == 0
            || request.check(self.image.size_bytes()).is_err()
            || (write && self.image.read_only)
        {
            return Err(request);
        }
        let mut owner = self.image.lock();
        // An error is found again, and told, by the thread aside.
        let Ok(Some(pieces)) = owner.direct_pieces(offset_bytes, length_bytes, write, PIECES_MAX) else {
            return Err(request);
        };
        let generation = owner.pin();
        drop(owner);
        self.start_pieces(&request, &pieces, generation);
        Ok(())
    }

    fn start_pieces(&mut self, request: &DiskRequest, pieces: &[Piece], generation: u64) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.active.push(None);
            self.active.len() - 1
        });
        let mut pieces_left = 0;
        let mut done = 0;
        for Piece { extent, length_bytes } in pieces {
            let buffers = request.buffers.slice(done, *length_bytes as usize);
            done += *length_bytes as usize;
            match extent {
                Extent::Data(host_bytes) => {
                    pieces_left += 1;
                    self.ring.submit(DiskRequest {
                        id: slot as u64,
                        operation: request.operation,
                        offset_bytes: *host_bytes,
                        length_bytes: *length_bytes,
                        buffers,
                        durable: false,
                    });
                }
                _ => fill_with_zeros(&buffers),
            }
        }
        let DiskRequest { id, durable, operation, .. } = *request;
        let durable = durable && operation.is_write();
        self.active[slot] = Some(Active { id, durable, generation, pieces_left, result: Ok(()) });
        if pieces_left == 0 {
            self.finish(slot);
        }
    }

    /// A piece has come back from the ring.
    fn piece_done(&mut self, slot: usize, result: io::Result<()>) {
        let Some(active) = self.active.get_mut(slot).and_then(Option::as_mut) else { return };
        active.pieces_left -= 1;
        if result.is_err() && active.result.is_ok() {
            active.result = result;
        }
        if active.pieces_left == 0 {
            self.finish(slot);
        }
    }

    fn finish(&mut self, slot: usize) {
        let Some(Active { id, durable, generation, result, .. }) = self.active[slot].take() else { return };
        self.free.push(slot);
        self.image.lock().unpin(generation);
        if durable && result.is_ok() {
            self.set_aside(DiskRequest::flush(id));
        } else {
            self.done.push(DiskCompletion { id, result });
        }
    }

    /// Lets a thread serve a request, or serves it at once where the host has no thread left.
    fn set_aside(&mut self, request: DiskRequest) {
        let started = match self.aside.take() {
            Some(aside) => Ok(aside),
            None => self.ring.event().try_clone().and_then(|event| {
                ThreadQueue::with_event(Arc::clone(&self.image) as Arc<_>, THREADS_ASIDE, event)
            }),
        };
        match started {
            Ok(mut aside) => {
                aside.submit(request);
                self.aside = Some(aside);
            }
            Err(error) => {
                tracing::debug!(%error, "no thread for a disk's request: it is served where it is");
                // What the ring has begun is over before this thread waits for anything else.
                let mut reaped = std::mem::take(&mut self.reaped);
                self.ring.drain(&mut reaped);
                self.take_in(reaped);
                let id = request.id;
                let result = self.image.perform(request);
                self.done.push(DiskCompletion { id, result });
            }
        }
    }

    /// Goes on with what the ring has finished.
    fn take_in(&mut self, mut reaped: Vec<DiskCompletion>) {
        for DiskCompletion { id, result } in reaped.drain(..) {
            self.piece_done(id as usize, result);
        }
        self.reaped = reaped;
    }

    /// Makes the owner look where something completed at once.
    fn signal_done(&self) {
        if !self.done.is_empty() {
            // The counter at its end also means readable.
            let _ = self.ring.event().write(1);
        }
    }
}

impl DiskQueue for ImageQueue {
    fn submit(&mut self, request: DiskRequest) {
        if let Err(request) = self.start_direct(request) {
            self.set_aside(request);
        }
        self.signal_done();
    }

    fn commit(&mut self) {
        self.ring.commit();
        self.signal_done();
    }

    fn completion_event(&self) -> BorrowedFd<'_> {
        self.ring.completion_event()
    }

    fn completions(&mut self, out: &mut Vec<DiskCompletion>) {
        // Clears the event that the threads aside signal, too: both are looked at afterwards.
        let mut reaped = std::mem::take(&mut self.reaped);
        self.ring.completions(&mut reaped);
        self.take_in(reaped);
        if let Some(aside) = &mut self.aside {
            aside.take_done(&mut self.done);
        }
        out.append(&mut self.done);
    }

    fn drain(&mut self, out: &mut Vec<DiskCompletion>) {
        let mut reaped = std::mem::take(&mut self.reaped);
        self.ring.drain(&mut reaped);
        self.take_in(reaped);
        if let Some(aside) = &mut self.aside {
            aside.drain(&mut self.done);
        }
        out.append(&mut self.done);
    }
}

impl Drop for ImageQueue {
    fn drop(&mut self) {
        // The ring waits for what it has begun; what it looked up for that is no longer in use then.
        let mut rest = Vec::new();
        self.drain(&mut rest);
    }
}
