//! Serves one queue: takes chains, keeps their requests in flight on the disk, completes them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use device_model::EventFd;
use disk::{Disk, DiskCompletion, DiskOperation, DiskQueue, DiskRequest};
use guest_memory::GuestMemory;
use tracing::debug;
use virtio_core::{Chain, Queue, QueueHandler, QueueState};

use crate::counters::BlockCounters;
use crate::failures::Failures;
use crate::request::{Limits, Part, Request, parse};
use crate::spec;

/// Bytes in flight from which on no further chain is taken, so that draining ends in bounded time. One request
/// may be longer: then it is in flight alone.
const MAX_IN_FLIGHT_BYTES: u64 = 64 << 20;

/// What all queues of a device share.
#[derive(Clone)]
pub(crate) struct Shared {
    /// But for the capacity, which can grow.
    pub(crate) limits: Limits,
    /// What the driver knows of the disk's length, in bytes.
    pub(crate) capacity_bytes: Arc<AtomicU64>,
    pub(crate) serial: [u8; spec::ID_SIZE],
    pub(crate) counters: Arc<BlockCounters>,
    pub(crate) cache: Cache,
    pub(crate) failures: Failures,
    /// Whose queues these are.
    pub(crate) device_disk: Arc<dyn Disk>,
}

/// Whether writes may stay in the host's cache until a flush (5.2.5.2).
#[derive(Clone)]
pub(crate) enum Cache {
    /// The driver says so in configuration space: `true` for writeback.
    Switched(Arc<AtomicBool>),
    /// The driver knows how to flush.
    Writeback,
    /// It does not.
    Writethrough,
}

impl Cache {
    fn is_writethrough(&self) -> bool {
        match self {
            Cache::Switched(writeback) => !writeback.load(Ordering::SeqCst),
            Cache::Writeback => false,
            Cache::Writethrough => true,
        }
    }
}

/// A chain whose request is with the disk.
struct InFlight {
    chain: Chain,
    operation: DiskOperation,
    /// Over all parts.
    length_bytes: u64,
    parts_left: usize,
    /// The first of its errors.
    error: Option<io::Error>,
}

/// See the module.
pub(crate) struct BlockHandler {
    queue: Queue,
    /// The queue's own kick, to be called again after a turn that was long enough.
    kick: EventFd,
    disk: Box<dyn DiskQueue>,
    shared: Shared,
    /// Requests with the disk; the index is the disk request's `id`.
    slots: Vec<Option<InFlight>>,
    free: Vec<usize>,
    in_flight_bytes: u64,
    /// Requests that failed and are tried again when the queue is started anew.
    held: Vec<Chain>,
    /// Requests to be tried again now.
    again: VecDeque<Chain>,
    /// Something was completed that the driver has not been told of.
    unsignalled: bool,
    /// Kept for its room.
    completions: Vec<DiskCompletion>,
}

impl BlockHandler {
    /// `again` are requests that were held when the queue was stopped.
    pub(crate) fn new(
        queue: Queue,
        kick: EventFd,
        disk: Box<dyn DiskQueue>,
        shared: Shared,
        again: Vec<Chain>,
    ) -> BlockHandler {
        shared.counters.count_released(again.len());
        BlockHandler {
            queue,
            kick,
            disk,
            shared,
            slots: Vec::new(),
            free: Vec::new(),
            in_flight_bytes: 0,
            held: Vec::new(),
            again: again.into(),
            unsignalled: false,
            completions: Vec::new(),
        }
    }

    /// Where the queue stands. Meant for a handler that has drained.
    pub(crate) fn state(&self) -> QueueState {
        self.queue.state()
    }

    /// The requests that wait, for the handler that comes next.
    pub(crate) fn into_held(mut self) -> Vec<Chain> {
        // What was not tried again yet waits on.
        self.again.iter().for_each(|_| self.shared.counters.count_held());
        self.held.extend(self.again);
        self.held
    }

    /// Takes what the driver has made available, as much as may be in flight.
    fn serve(&mut self) {
        // A driver that adds chains as fast as they are refused must not keep this thread from its stop event.
        let mut turns = 2 * u32::from(self.queue.size());
        self.queue.disable_kicks();
        while self.has_room() {
            if turns == 0 {
                // The counter at its end also means readable.
                let _ = self.kick.write(1);
                break;
            }
            turns -= 1;
            match self.again.pop_front().or_else(|| self.queue.pop()) {
                Some(chain) => self.begin(chain),
                None if self.queue.enable_kicks() => self.queue.disable_kicks(),
                None => break,
            }
        }
        // Without room kicks stay disabled: a completion makes room and comes back here.
        self.disk.commit();
        self.signal();
    }

    fn has_room(&self) -> bool {
        let in_flight = self.slots.len() - self.free.len();
        in_flight < usize::from(self.queue.size()) && self.in_flight_bytes < MAX_IN_FLIGHT_BYTES
    }

    /// Parses a chain and starts or answers its request.
    fn begin(&mut self, chain: Chain) {
        let size_bytes = self.shared.capacity_bytes.load(Ordering::SeqCst);
        let limits = Limits { size_bytes, ..self.shared.limits };
        match parse(&chain, self.queue.memory(), &limits) {
            Ok(Request::Disk(parts)) => self.submit(chain, parts),
            Ok(Request::Id { room_bytes }) => {
                let id = &self.shared.serial[..self.shared.serial.len().min(room_bytes as usize)];
                match chain.write(self.queue.memory(), 0, id) {
                    Ok(()) => self.complete(&chain, spec::S_OK, id.len() as u64),
                    Err(_) => self.refuse(&chain, spec::S_IOERR, "serial number outside guest memory"),
                }
            }
            Err(refusal) => self.refuse(&chain, refusal.status, refusal.reason),
        }
    }

    fn refuse(&mut self, chain: &Chain, status: u8, reason: &'static str) {
        debug!(head = chain.head, status, reason, "block request refused");
        self.shared.counters.count_refused();
        self.complete(chain, status, 0);
    }

    /// Gives the parts of a request to the disk.
    fn submit(&mut self, chain: Chain, parts: Vec<Part>) {
        let Some(first) = parts.first() else {
            return self.complete(&chain, spec::S_OK, 0);
        };
        let operation = first.operation;
        let length_bytes = parts.iter().map(|part| part.length_bytes).sum();
        let in_flight = InFlight { chain, operation, length_bytes, parts_left: parts.len(), error: None };
        self.in_flight_bytes += weight(operation, length_bytes);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(in_flight);
        let durable = operation.is_write() && self.shared.cache.is_writethrough();
        for Part { operation, offset_bytes, length_bytes, buffers } in parts {
            let id = slot as u64;
            self.disk.submit(DiskRequest { id, operation, offset_bytes, length_bytes, buffers, durable });
        }
    }

    /// Completes the chains whose requests the disk has finished.
    fn finish_completions(&mut self) {
        let mut completions = std::mem::take(&mut self.completions);
        for DiskCompletion { id, result } in completions.drain(..) {
            self.finish_part(id as usize, result);
        }
        self.completions = completions;
    }

    fn finish_part(&mut self, slot: usize, result: io::Result<()>) {
        let Some(in_flight) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return };
        in_flight.parts_left -= 1;
        if let Err(error) = result {
            in_flight.error.get_or_insert(error);
        }
        if in_flight.parts_left > 0 {
            return;
        }
        let Some(InFlight { chain, operation, length_bytes, error, .. }) = self.slots[slot].take() else {
            return;
        };
        self.free.push(slot);
        self.in_flight_bytes -= weight(operation, length_bytes);
        let held_before = !self.held.is_empty();
        let failed = error.is_some();
        if let Some(error) = error
            && self.shared.failures.holds(operation, &error, held_before, &self.shared.counters)
        {
            return self.held.push(chain);
        }
        let mut written_bytes = 0;
        if operation == DiskOperation::Read {
            // The pages were marked dirty when the buffers were made; a look at the dirty pages since then has
            // missed what the host kernel wrote after it, so they are marked once more.
            let _ = chain.writable_buffers(self.queue.memory(), 0, length_bytes);
            written_bytes = if failed { 0 } else { length_bytes };
        }
        if failed {
            self.complete(&chain, spec::S_IOERR, written_bytes);
        } else {
            self.shared.counters.count_completed(operation, length_bytes);
            if operation == DiskOperation::Flush {
                self.shared.failures.look_after(&*self.shared.device_disk);
            }
            self.complete(&chain, spec::S_OK, written_bytes);
        }
    }

    /// Writes the status and hands the chain back. `data_bytes` were written from the start of the writable
    /// part; the length told to the driver counts without a gap from there (2.7.8.2).
    fn complete(&mut self, chain: &Chain, status: u8, data_bytes: u64) {
        let status_at = chain.writable_bytes().saturating_sub(1);
        let status_written = chain.write(self.queue.memory(), status_at, &[status]).is_ok();
        let gapless = status_written && data_bytes == status_at;
        let written_bytes = data_bytes + u64::from(gapless);
        self.queue.complete(chain.head, u32::try_from(written_bytes).unwrap_or(u32::MAX));
        self.unsignalled = true;
    }

    fn signal(&mut self) {
        if std::mem::take(&mut self.unsignalled) {
            self.queue.signal();
        }
    }
}

/// How much a request counts towards [`MAX_IN_FLIGHT_BYTES`]: what the host may have to move for it.
fn weight(operation: DiskOperation, length_bytes: u64) -> u64 {
    match operation {
        DiskOperation::Read | DiskOperation::Write | DiskOperation::WriteZeroes { .. } => length_bytes,
        DiskOperation::Flush | DiskOperation::Discard => 0,
    }
}

impl QueueHandler for BlockHandler {
    fn sources(&self) -> Vec<BorrowedFd<'_>> {
        vec![self.disk.completion_event()]
    }

    fn memory(&self) -> &GuestMemory {
        self.queue.memory()
    }

    fn on_kick(&mut self) {
        self.serve();
    }

    fn on_source(&mut self, _index: usize) {
        self.disk.completions(&mut self.completions);
        self.finish_completions();
        self.serve();
    }

    fn drain(&mut self) {
        self.disk.drain(&mut self.completions);
        self.finish_completions();
        self.signal();
    }
}
