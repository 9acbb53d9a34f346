//! Target `virtqueue`: a device's half of a ring against a driver's half that follows no rules.
//!
//! Always: a ring yields no more chains than it has descriptors; the queue writes to nothing but the used
//! ring; a chain's buffers are as long as they were asked for; a broken ring says so once and stays silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use guest_memory::{GuestMemory, PAGE_SIZE};
use virtio_core::{
    Chain, ChainError, Queue, QueueInterrupt, QueueState, VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC,
    VIRTIO_F_VERSION_1,
};

use crate::hostile_ring::{self, HostileRing, SeedPiece, note_chain};
use crate::{Notation, Script, Seed, ram};

const POP: u8 = hostile_ring::COUNT;
const COMPLETE: u8 = POP + 1;
const COMPLETE_TOGETHER: u8 = POP + 2;
const UNDO_POP: u8 = POP + 3;
const SIGNAL: u8 = POP + 4;
const DISABLE_KICKS: u8 = POP + 5;
const ENABLE_KICKS: u8 = POP + 6;
const SERVE_ALL: u8 = POP + 7;
const REOPEN: u8 = POP + 8;
const OPERATIONS: u8 = POP + 9;

/// Bytes of a chain that are looked at.
const LOOK_BYTES: u64 = 8192;

#[derive(Default)]
struct Interrupt {
    used: AtomicU64,
    broken: AtomicU64,
}

impl QueueInterrupt for Interrupt {
    fn signal_used(&self) {
        self.used.fetch_add(1, Ordering::SeqCst);
    }

    fn signal_broken(&self) {
        self.broken.fetch_add(1, Ordering::SeqCst);
    }
}

struct Fixture {
    memory: GuestMemory,
    ring: HostileRing,
    max_size: u16,
    features: u64,
    interrupt: Arc<Interrupt>,
    queue: Queue,
    taken: Vec<Chain>,
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let flags = script.u8();
    let ring = if flags & 1 != 0 { HostileRing::placed(&mut script) } else { HostileRing::decent(0) };
    let max_size = 1 << (flags >> 4);
    let event_index = if flags & 2 != 0 { VIRTIO_F_EVENT_IDX } else { 0 };
    let features = VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | event_index;
    let state = match flags & 4 {
        0 => QueueState::default(),
        _ => QueueState { next_avail: script.u16(), next_used: script.u16() },
    };
    let memory = ram::allocate();
    let interrupt = Arc::<Interrupt>::default();
    let queue = Queue::new(ring.layout, max_size, state, features, memory.clone(), interrupt.clone());
    let Ok(queue) = queue else { return };
    let mut fixture = Fixture { memory, ring, max_size, features, interrupt, queue, taken: Vec::new() };
    while let Some(operation) = script.operation(OPERATIONS) {
        fixture.act(operation, &mut script);
    }
    fixture.serve_all();
}

impl Fixture {
    fn act(&mut self, operation: u8, script: &mut Script<'_>) {
        match operation {
            0..POP => self.ring.act(operation, &self.memory, script),
            POP => self.pop(script),
            COMPLETE => {
                let (pick, written_bytes) = (script.u16(), script.u32());
                let head = self.taken.pop().map_or(pick, |chain| chain.head);
                self.writes_to_the_used_ring_only(|queue| queue.complete(head, written_bytes));
            }
            COMPLETE_TOGETHER => {
                let raw = (script.u16(), script.u32());
                let mut chains: Vec<(u16, u32)> = self.taken.drain(..).map(|chain| (chain.head, 1)).collect();
                chains.push(raw);
                self.writes_to_the_used_ring_only(|queue| queue.complete_together(&chains));
            }
            UNDO_POP => {
                if self.taken.pop().is_some() {
                    self.queue.undo_pop();
                }
            }
            SIGNAL => self.writes_to_the_used_ring_only(Queue::signal),
            DISABLE_KICKS => self.writes_to_the_used_ring_only(Queue::disable_kicks),
            ENABLE_KICKS => {
                self.writes_to_the_used_ring_only(|queue| {
                    queue.enable_kicks();
                });
            }
            SERVE_ALL => self.serve_all(),
            _ => self.reopen(),
        }
    }

    fn is_broken(&self) -> bool {
        let broken = self.interrupt.broken.load(Ordering::SeqCst);
        assert!(broken <= 1, "a broken ring says so once");
        broken == 1
    }

    fn pop(&mut self, script: &mut Script<'_>) {
        let was_broken = self.is_broken();
        let Some(chain) = self.queue.pop() else { return };
        assert!(!was_broken, "a broken ring yields nothing");
        look_at(&chain, &self.memory, script.u16().into());
        self.taken.push(chain);
    }

    /// As a worker does: kicks off, everything taken and completed, kicks on.
    fn serve_all(&mut self) {
        self.taken.clear();
        self.queue.disable_kicks();
        let before = self.is_broken();
        for turn in 0.. {
            let Some(chain) = self.queue.pop() else { break };
            // The ring may lie in its own way: completing can make more available, but taking alone cannot.
            assert!(turn < u32::from(self.queue.size()), "more chains than descriptors");
            self.taken.push(chain);
        }
        for chain in std::mem::take(&mut self.taken) {
            self.writes_to_the_used_ring_only(|queue| queue.complete(chain.head, 0));
        }
        self.queue.enable_kicks();
        let used = self.interrupt.used.load(Ordering::SeqCst);
        self.queue.signal();
        let signalled = self.interrupt.used.load(Ordering::SeqCst) - used;
        assert!(signalled <= 1 && !(before && signalled > 0), "one interrupt, and none from a broken ring");
    }

    /// Stops and starts the queue, as a pause does.
    fn reopen(&mut self) {
        self.taken.clear();
        let (state, memory) = (self.queue.state(), self.memory.clone());
        let interrupt = Arc::<Interrupt>::default();
        let queue =
            Queue::new(self.ring.layout, self.max_size, state, self.features, memory, interrupt.clone());
        (self.queue, self.interrupt) = (queue.expect("the layout was good before"), interrupt);
        assert_eq!(self.queue.state(), state);
    }

    /// Checked by the page: the dirty bitmap knows what the queue has written.
    fn writes_to_the_used_ring_only(&mut self, act: impl FnOnce(&mut Queue)) {
        self.memory.slots().take_device_dirty();
        act(&mut self.queue);
        let first = self.ring.layout.used.0 / PAGE_SIZE;
        let last = (self.ring.layout.used.0 + 5 + 8 * u64::from(self.ring.layout.size)) / PAGE_SIZE;
        let dirty = self.memory.slots().take_device_dirty();
        let strays = dirty.iter().filter(|gpa| !(first..=last).contains(&(gpa / PAGE_SIZE))).count();
        assert_eq!(strays, 0, "the queue wrote outside its used ring");
    }
}

/// Reads and writes parts of a chain's buffers.
fn look_at(chain: &Chain, memory: &GuestMemory, offset: u64) {
    let (readable, writable) = (chain.readable_bytes(), chain.writable_bytes());
    let len = readable.saturating_sub(offset).min(LOOK_BYTES);
    let mut data = vec![0; len as usize];
    let read = chain.read(memory, offset.min(readable), &mut data);
    assert!(!matches!(read, Err(ChainError::TooShort)));
    if let Ok(buffers) = chain.readable_buffers(memory, offset.min(readable), len) {
        assert_eq!(buffers.len_bytes() as u64, len);
        assert!(read.is_ok() && buffers.to_vec(usize::MAX) == data, "two ways to the same bytes");
    }
    let len = writable.saturating_sub(offset).min(LOOK_BYTES);
    if let Ok(buffers) = chain.writable_buffers(memory, offset.min(writable), len) {
        assert_eq!(buffers.len_bytes() as u64, len);
    }
    let mut all = vec![0; readable.min(LOOK_BYTES) as usize + 1];
    if readable < LOOK_BYTES {
        assert!(chain.read(memory, 0, &mut all).is_err(), "one byte more than there is");
    }
}

/// A decent driver with and without event indices and indirect tables, and a ring placed by hand.
pub fn seeds() -> Vec<Seed> {
    let pieces = [SeedPiece::Read(0x4000, b"header"), SeedPiece::Write(0x5000, 64)];
    let chain = |script: Notation, table| note_chain(script.u8(hostile_ring::CHAIN), table, &pieces);
    let serve = |script: Notation| {
        script.u8(DISABLE_KICKS).u8(POP).u16(2).u8(COMPLETE).u16(0).u32(64).u8(ENABLE_KICKS).u8(SIGNAL)
    };
    let plain = serve(chain(Notation::new().u8(0x80), None));
    let event_index = serve(chain(Notation::new().u8(0x82), Some(0x6000)));
    let several = chain(chain(Notation::new().u8(0x80), None), Some(0x6000));
    let several = several.u8(POP).u16(0).u8(POP).u16(0).u8(UNDO_POP).u8(POP).u16(0);
    let several = several.u8(COMPLETE_TOGETHER).u16(0).u32(0).u8(SIGNAL).u8(REOPEN).u8(SERVE_ALL);
    // Flags: placed, with a state near the wrap of its indices.
    let placed = Notation::new().u8(0x85).u8(4).gpa(0x1000).gpa(0x2000).gpa(0x3000).u16(0xffff).u16(0xfffe);
    let placed = placed.u8(hostile_ring::AVAIL_INDEX).u16(0xffff);
    let placed = serve(chain(placed, None)).u8(hostile_ring::NOTIFICATION).u16(1).u16(3).u8(SERVE_ALL);
    let looped =
        Notation::new().u8(0x80).u8(hostile_ring::DESCRIPTOR).u16(0).gpa(0x4000).u32(16).u16(1).u16(0);
    let looped = looped.u8(hostile_ring::PUBLISH).u16(0).u8(SERVE_ALL);
    vec![
        ("plain", plain.finish()),
        ("event_index", event_index.finish()),
        ("several", several.finish()),
        ("placed", placed.finish()),
        ("looped", looped.finish()),
    ]
}
