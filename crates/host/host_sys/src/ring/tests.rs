use std::fs::File;
use std::io::Write as _;

use super::*;
use crate::memory::memfd;
use crate::poll::{Poller, Token};

/// A ring, or `None` with a word where this host refuses io_uring.
fn ring(entries: u32) -> Option<Ring<u64>> {
    Ring::new(entries).inspect_err(|error| println!("SKIPPED: io_uring is refused here: {error}")).ok()
}

fn submission(file: &Arc<File>, user_data: u64, operation: Operation, data: Vec<u8>) -> Submission<u64> {
    Submission { user_data, file: Arc::clone(file), operation, buffers: IoBuffers::from_vec(data) }
}

#[test]
fn writes_syncs_and_reads_back() {
    let Some(mut ring) = ring(8) else { return };
    let file = Arc::new(memfd("test", 8192).unwrap());
    let mut done = Vec::new();
    let write = Operation::Write { offset_bytes: 100 };
    ring.push(submission(&file, 1, write, b"hello".to_vec())).unwrap();
    ring.wait_all(&mut done).unwrap();
    ring.push(submission(&file, 2, Operation::Sync { data_only: true }, Vec::new())).unwrap();
    ring.push(submission(&file, 3, Operation::Read { offset_bytes: 99 }, vec![1; 7])).unwrap();
    assert_eq!(ring.in_flight(), 2);
    ring.wait_all(&mut done).unwrap();
    done.sort_by_key(|completion| completion.user_data);
    let results: Vec<u32> = done.iter().map(|completion| *completion.result.as_ref().unwrap()).collect();
    assert_eq!(results, [5, 0, 7]);
    assert_eq!(done[2].buffers.to_vec(7), b"\0hello\0");
}

#[test]
fn allocation_punches_and_keeps_the_size() {
    let Some(mut ring) = ring(8) else { return };
    let mut plain = tempfile();
    plain.write_all(&[7; 16384]).unwrap();
    let file = Arc::new(plain);
    let mut done = Vec::new();
    for (user_data, operation) in [
        (1, Operation::PunchHole { offset_bytes: 4096, len_bytes: 4096 }),
        (2, Operation::ZeroRange { offset_bytes: 8192, len_bytes: 1 << 20 }),
    ] {
        ring.push(submission(&file, user_data, operation, Vec::new())).unwrap();
        ring.wait_all(&mut done).unwrap();
    }
    assert_eq!(file.metadata().unwrap().len(), 16384);
    let unsupported = |error: &io::Error| error.raw_os_error() == Some(libc::EOPNOTSUPP);
    assert!(done.iter().all(|done| done.result.as_ref().map_or_else(unsupported, |_| true)), "{done:?}");
    ring.push(submission(&file, 3, Operation::Read { offset_bytes: 4095 }, vec![1; 2])).unwrap();
    done.clear();
    ring.wait_all(&mut done).unwrap();
    assert_eq!(done[0].buffers.to_vec(2), [7, 0]);
}

#[test]
fn errors_come_back_as_errors() {
    let Some(mut ring) = ring(8) else { return };
    let file = Arc::new(File::open("/proc/self/exe").unwrap());
    let mut done = Vec::new();
    ring.push(submission(&file, 1, Operation::Write { offset_bytes: 0 }, vec![0])).unwrap();
    ring.wait_all(&mut done).unwrap();
    assert_eq!(done[0].result.as_ref().unwrap_err().raw_os_error(), Some(libc::EBADF));
    ring.wait(&mut done).unwrap();
    assert_eq!(done.len(), 1, "nothing in flight: wait returns");
}

#[test]
fn a_full_submission_queue_is_submitted_and_a_full_ring_gives_back() {
    let Some(mut ring) = ring(4) else { return };
    let file = Arc::new(memfd("test", 4096).unwrap());
    let read = |user_data| submission(&file, user_data, Operation::Read { offset_bytes: 0 }, vec![1; 16]);
    for user_data in 0..ring.capacity() as u64 {
        ring.push(read(user_data)).unwrap();
    }
    assert_eq!(ring.push(read(99)).unwrap_err().user_data, 99);
    let mut done = Vec::new();
    ring.wait_all(&mut done).unwrap();
    assert_eq!(done.len(), ring.capacity());
    ring.push(read(100)).unwrap();
    assert_eq!(ring.slots.len(), ring.capacity(), "slots are used again");
}

#[test]
fn the_event_wakes_a_poller() {
    let Some(mut ring) = ring(4) else { return };
    let poller = Poller::new().unwrap();
    poller.watch(ring.event_fd(), Token(5)).unwrap();
    let file = Arc::new(memfd("test", 4096).unwrap());
    ring.push(submission(&file, 1, Operation::Read { offset_bytes: 0 }, vec![1; 16])).unwrap();
    ring.submit().unwrap();
    // A finished operation may interrupt the wait as well: then it yields nothing.
    while poller.wait(None) != [Token(5)] {}
    let mut done = Vec::new();
    ring.reap(&mut done);
    assert_eq!(done.len(), 1);
    assert_eq!(poller.wait(Some(Duration::ZERO)), [], "reaping clears the event");
}

#[test]
fn dropping_a_ring_waits_for_its_operations() {
    let Some(mut ring) = ring(64) else { return };
    let file = Arc::new(tempfile());
    for index in 0..64 {
        let write = Operation::Write { offset_bytes: index * 65536 };
        ring.push(submission(&file, index, write, vec![index as u8; 65536])).unwrap();
        ring.push(submission(&file, index, Operation::Sync { data_only: false }, Vec::new())).unwrap();
    }
    ring.submit().unwrap();
    drop(ring);
    assert_eq!(file.metadata().unwrap().len(), 64 * 65536);
    assert_eq!(Arc::strong_count(&file), 1, "no operation holds the file");
}

#[test]
fn a_ring_that_cannot_be_is_an_error() {
    assert!(Ring::<u64>::new(0).is_err());
}

/// A file without a name, in the temporary folder.
fn tempfile() -> File {
    let flags = rustix::fs::OFlags::TMPFILE | rustix::fs::OFlags::RDWR;
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::open(std::env::temp_dir(), flags, mode).unwrap().into()
}
