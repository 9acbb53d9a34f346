//! Rings and chains that no driver should make, against the queue itself.

use std::sync::Arc;

use device_harness::{Arena, Descriptor, RecordingInterrupt, RingDriver};
use guest_memory::{GpaRange, GuestAddress, GuestMemory, Policy};
use virtio_core::{
    BadLayout, Queue, QueueLayout, QueueState, VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC, VIRTIO_F_VERSION_1,
};

const FEATURES: u64 = VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC;
const SIZE: u16 = 16;
const RAM: u64 = 1 << 20;

struct Fixture {
    arena: Arena,
    ring: RingDriver,
    interrupt: Arc<RecordingInterrupt>,
    queue: Queue,
}

fn fixture(features: u64) -> Fixture {
    let mut arena = Arena::new(RAM);
    let ring = RingDriver::new(&mut arena, SIZE);
    let interrupt = Arc::<RecordingInterrupt>::default();
    let queue = make(ring.layout(), features, arena.memory().clone(), &interrupt).expect("a good ring");
    Fixture { arena, ring, interrupt, queue }
}

fn make(
    layout: QueueLayout,
    features: u64,
    memory: GuestMemory,
    interrupt: &Arc<RecordingInterrupt>,
) -> Result<Queue, BadLayout> {
    Queue::new(layout, SIZE, QueueState::default(), features, memory, interrupt.clone())
}

fn plain(address: u64, len: u32, flags: u16, next: u16) -> Descriptor {
    Descriptor { address, len, flags, next }
}

const NEXT: u16 = Descriptor::NEXT;
const WRITE: u16 = Descriptor::WRITE;
const INDIRECT: u16 = Descriptor::INDIRECT;

/// Descriptors of the ring, of an indirect table at `TABLE`, and what the chain then has: bytes to read and
/// to write.
type Case<'a> = (&'a str, &'a [Descriptor], &'a [Descriptor], u64, u64);

const TABLE: u64 = 0x8_0000;

#[test]
fn nonsense_chains_are_cut_short_and_completed() {
    let cases: [Case<'_>; 12] = [
        ("loop", &[plain(0x2000, 8, NEXT, 1), plain(0x2000, 8, NEXT, 0)], &[], 8 * u64::from(SIZE), 0),
        ("loop on itself", &[plain(0x2000, 8, NEXT | WRITE, 0)], &[], 0, 8 * u64::from(SIZE)),
        ("next out of range", &[plain(0x2000, 8, NEXT, SIZE)], &[], 8, 0),
        ("readable behind writable", &[plain(0x2000, 8, NEXT | WRITE, 1), plain(0, 4, 0, 0)], &[], 0, 8),
        ("more than 4 GiB", &[plain(0, u32::MAX, NEXT, 1), plain(0, 8, 0, 0)], &[], u64::from(u32::MAX), 0),
        ("indirect", &[plain(TABLE, 32, INDIRECT, 0)], &[plain(0, 4, NEXT, 1), plain(0, 2, WRITE, 0)], 4, 2),
        ("indirect in indirect", &[plain(TABLE, 16, INDIRECT, 0)], &[plain(TABLE, 16, INDIRECT, 0)], 0, 0),
        ("indirect loop", &[plain(TABLE, 16, INDIRECT, 0)], &[plain(0, 1, NEXT, 0)], 1, 0),
        ("indirect of odd length", &[plain(TABLE, 17, INDIRECT, 0)], &[plain(0, 4, 0, 0)], 0, 0),
        ("indirect of no length", &[plain(TABLE, 0, INDIRECT, 0)], &[plain(0, 4, 0, 0)], 0, 0),
        ("indirect too long", &[plain(TABLE, 16 << 16, INDIRECT, 0)], &[plain(0, 4, 0, 0)], 0, 0),
        ("indirect outside RAM", &[plain(u64::MAX - 15, 16, INDIRECT, 0)], &[], 0, 0),
    ];
    for (name, descriptors, table, readable, writable) in cases {
        let mut fixture = fixture(FEATURES);
        for (index, descriptor) in descriptors.iter().enumerate() {
            fixture.ring.set_descriptor(index as u16, *descriptor);
        }
        let table: Vec<u8> = table.iter().flat_map(|descriptor| descriptor.to_bytes()).collect();
        fixture.arena.write(GuestAddress(TABLE), &table);
        fixture.ring.publish(0);
        let chain = fixture.queue.pop().expect(name);
        assert_eq!((chain.readable_bytes(), chain.writable_bytes()), (readable, writable), "{name}");
        fixture.queue.complete(chain.head, 0);
        assert!(fixture.queue.pop().is_none(), "{name}");
        assert!(!fixture.interrupt.is_broken(), "{name}");
        assert_eq!(fixture.ring.used_index(), 1, "{name}");
    }
}

#[test]
fn a_long_indirect_loop_is_bounded() {
    let mut fixture = fixture(FEATURES);
    fixture.ring.set_descriptor(0, plain(TABLE, 16 * 0x7000, INDIRECT, 0));
    fixture.arena.write(GuestAddress(TABLE), &plain(0x2000, 1, NEXT, 0).to_bytes());
    fixture.ring.publish(0);
    assert_eq!(fixture.queue.pop().unwrap().readable_bytes(), 2048);
}

#[test]
fn buffers_outside_memory_fail_their_access_alone() {
    let cases = [(RAM - 4, 8), (RAM, 1), (u64::MAX, 1), (u64::MAX - 2, 8), (0, 1 << 31)];
    for (address, len) in cases {
        let mut fixture = fixture(FEATURES);
        fixture.ring.set_descriptor(0, plain(address, len, NEXT, 1));
        fixture.ring.set_descriptor(1, plain(address, len.min(64), WRITE, 0));
        fixture.ring.publish(0);
        let chain = fixture.queue.pop().unwrap();
        let memory = fixture.queue.memory();
        let mut data = vec![0; len.min(64) as usize];
        let inside = address == 0;
        assert_eq!(chain.read(memory, 0, &mut data).is_ok(), inside, "{address:#x}");
        assert_eq!(chain.write(memory, 0, &data).is_ok(), inside, "{address:#x}");
        assert!(chain.readable_buffers(memory, 0, u64::from(len)).is_err(), "{address:#x}");
        assert_eq!(chain.writable_buffers(memory, 0, data.len() as u64).is_ok(), inside, "{address:#x}");
    }
}

#[test]
fn rings_with_impossible_indices_go_out_of_service_once() {
    for features in [FEATURES, FEATURES | VIRTIO_F_EVENT_IDX] {
        for jump in [SIZE + 1, 0x8000, u16::MAX] {
            let mut fixture = fixture(features);
            fixture.ring.set_avail_index(jump);
            assert!(fixture.queue.pop().is_none());
            assert!(fixture.interrupt.is_broken(), "{jump}");
            fixture.ring.set_avail_index(1);
            fixture.queue.disable_kicks();
            assert!(fixture.queue.pop().is_none() && !fixture.queue.enable_kicks(), "stays out of service");
            fixture.queue.complete(0, 0);
            fixture.queue.signal();
            assert_eq!((fixture.ring.used_index(), fixture.interrupt.used()), (0, 0));
        }
    }
    let mut fixture = fixture(FEATURES);
    fixture.ring.publish(SIZE);
    let chain = fixture.queue.pop().unwrap();
    assert_eq!((chain.readable_bytes(), chain.writable_bytes()), (0, 0));
    fixture.queue.complete(chain.head, 0);
    assert!(fixture.interrupt.is_broken(), "a head outside the table cannot be completed");
}

#[test]
fn layouts_are_checked() {
    let good = fixture(FEATURES).ring.layout();
    let at = |layout: QueueLayout, end: u64| QueueLayout { used: GuestAddress(end), ..layout };
    let used_bytes = 6 + 8 * u64::from(SIZE);
    // RAM ends at a page; the last place for a used ring is rounded down to its alignment.
    let last = (RAM - used_bytes) & !3;
    // (what is odd, layout, accepted)
    let cases = [
        ("nothing", good, true),
        ("size 0", QueueLayout { size: 0, ..good }, false),
        ("size not a power of two", QueueLayout { size: 12, ..good }, false),
        ("larger than offered", QueueLayout { size: 2 * SIZE, ..good }, false),
        ("misaligned table", QueueLayout { descriptors: GuestAddress(0x1008), ..good }, false),
        ("misaligned available ring", QueueLayout { available: GuestAddress(0x1001), ..good }, false),
        ("misaligned used ring", at(good, 0x1002), false),
        ("at the end of RAM", at(good, last), true),
        ("over the end of RAM", at(good, last + 4), false),
        ("outside RAM", QueueLayout { descriptors: GuestAddress(RAM), ..good }, false),
        ("wrapping", QueueLayout { descriptors: GuestAddress(!15), ..good }, false),
    ];
    for (what, layout, accepted) in cases {
        let memory = Arena::new(RAM).memory().clone();
        assert_eq!(make(layout, FEATURES, memory, &Arc::default()).is_ok(), accepted, "{what}");
    }
}

#[test]
fn rings_may_not_lie_across_a_hole() {
    let ram = |start, size_bytes| GpaRange { start: GuestAddress(start), size_bytes };
    let memory = GuestMemory::allocate(&[ram(0, 0x4000), ram(0x8000, 0x4000)], Policy::default()).unwrap();
    let layout = QueueLayout {
        size: SIZE,
        descriptors: GuestAddress(0x3ff0),
        available: GuestAddress(0x1000),
        used: GuestAddress(0x2000),
    };
    assert!(make(layout, FEATURES, memory.clone(), &Arc::default()).is_err());
    let layout = QueueLayout { descriptors: GuestAddress(0x8000), ..layout };
    assert!(make(layout, FEATURES, memory, &Arc::default()).is_ok());
}

#[test]
fn the_driver_is_interrupted_as_it_asked() {
    let mut plain_ring = fixture(FEATURES);
    let buffer = plain_ring.arena.room(8);
    let serve = |fixture: &mut Fixture| {
        fixture.ring.add(&[], &[buffer]);
        let chain = fixture.queue.pop().unwrap();
        fixture.queue.complete(chain.head, 8);
        fixture.ring.take_used().unwrap();
        fixture.queue.signal();
        fixture.interrupt.used()
    };
    assert_eq!(serve(&mut plain_ring), 1);
    plain_ring.ring.set_avail_flags(1);
    assert_eq!(serve(&mut plain_ring), 1, "the driver polls");
    let mut event_ring = fixture(FEATURES | VIRTIO_F_EVENT_IDX);
    event_ring.ring.set_avail_flags(1);
    event_ring.ring.set_used_event(2);
    assert_eq!([serve(&mut event_ring), serve(&mut event_ring), serve(&mut event_ring)], [0, 0, 1]);
    plain_ring.queue.disable_kicks();
    assert_eq!(plain_ring.ring.used_flags(), 1);
    assert!(!plain_ring.queue.enable_kicks());
    assert_eq!(plain_ring.ring.used_flags(), 0);
}
