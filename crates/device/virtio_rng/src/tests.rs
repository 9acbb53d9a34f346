//! The device on a fake driver.

use std::time::Instant;

use device_harness::{Descriptor, DirectDriver, Piece, REPLY_TIMEOUT};
use virtio_core::{VIRTIO_F_EVENT_IDX, VIRTIO_F_VERSION_1};

use super::*;
use crate::entropy::MAX_CHAIN_BYTES;

const FEATURES: u64 = VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX;

fn driver() -> DirectDriver {
    let mut driver = DirectDriver::new(Box::new(VirtioRng::new()));
    driver.start(FEATURES);
    driver
}

#[test]
fn buffers_are_filled_up_to_the_bound() {
    // (writable buffers, bytes written)
    let cases: [(&[u32], u32); 5] = [
        (&[16], 16),
        (&[1, 4095, 5000], 9096),
        (&[0, 8], 8),
        (&[0], 0),
        (&[60_000, 60_000], MAX_CHAIN_BYTES as u32),
    ];
    let mut driver = driver();
    for (buffers, written_bytes) in cases {
        let reply = driver.request(0, &[], buffers);
        assert_eq!(reply.written_bytes, written_bytes, "{buffers:?}");
        let filled = &reply.data[..written_bytes as usize];
        assert!(filled.len() < 16 || filled.chunks(16).any(|chunk| chunk.iter().any(|byte| *byte != 0)));
    }
    assert!(driver.interrupt(0).used() > 0);
}

#[test]
fn entropy_differs_between_requests() {
    let mut driver = driver();
    let first = driver.request(0, &[], &[32]);
    assert_ne!(first.data, driver.request(0, &[], &[32]).data);
}

#[test]
fn nonsense_is_completed_with_nothing_written() {
    let mut driver = driver();
    assert_eq!(driver.request(0, &[&[1; 16]], &[]).written_bytes, 0);
    let outside: Piece = (guest_address(u64::MAX - 8), 4096);
    driver.submit(0, &[], &[outside]);
    assert_eq!(driver.wait(0).written_bytes, 0);
    let head = driver.submit(0, &[], &[(guest_address(0x2000), 4)]);
    driver.wait(0);
    // A chain that loops: the walk ends after as many steps as the ring has descriptors.
    let flags = Descriptor::NEXT | Descriptor::WRITE;
    driver.ring(0).set_descriptor(head, Descriptor { address: 0x2000, len: 4, flags, next: head });
    driver.ring(0).publish(head);
    driver.kick(0);
    assert_eq!(driver.wait(0).written_bytes, 4 * u32::from(QUEUE_SIZE));
    assert!(!driver.interrupt(0).is_broken());
    driver.ring(0).set_avail_index(40_000);
    driver.kick(0);
    let deadline = Instant::now() + REPLY_TIMEOUT;
    while !driver.interrupt(0).is_broken() {
        assert!(Instant::now() < deadline, "the ring goes out of service");
        std::thread::yield_now();
    }
}

fn guest_address(gpa: u64) -> guest_memory::GuestAddress {
    guest_memory::GuestAddress(gpa)
}

#[test]
fn a_stopped_queue_goes_on_where_it_was() {
    let mut driver = driver();
    driver.request(0, &[], &[8]);
    let states = driver.stop();
    assert_eq!(states, [Some(QueueState { next_avail: 1, next_used: 1 })]);
    assert_eq!(driver.stop(), [None]);
    let buffer = driver.arena.room(8);
    driver.submit(0, &[], &[buffer]);
    driver.resume(&states);
    assert_eq!(driver.wait(0).written_bytes, 8);
    assert_eq!(driver.device().save_bytes().unwrap(), None);
}
