//! What the device does about a host that cannot carry out its requests.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use device_model::fake::FakePower;
use device_model::{Consequence, EventFd, HostFailure};
use disk::{DiskCompletion, DiskOperation, DiskQueue, DiskRequest, Trouble};
use host_sys::poll::{event_fd, new_event};
use rustix::io::Errno;

use super::*;
use crate::OnError;

/// A disk of zeros that fails with `errno` while it is set, and counts what it does.
#[derive(Clone, Default)]
struct FailingDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    errno: Option<Errno>,
    done: Vec<(DiskOperation, u64)>,
    gone: bool,
}

impl FailingDisk {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fails_with(&self, errno: Option<Errno>) {
        self.state().errno = errno;
    }

    fn done(&self) -> Vec<(DiskOperation, u64)> {
        self.state().done.clone()
    }
}

impl Disk for FailingDisk {
    fn size_bytes(&self) -> u64 {
        1 << 30
    }

    fn block_size_bytes(&self) -> u32 {
        512
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn can_discard(&self) -> bool {
        true
    }

    fn can_write_zeroes(&self) -> bool {
        true
    }

    fn trouble(&self) -> Option<Trouble> {
        self.state().gone.then_some(Trouble::Vanished)
    }

    fn open_queue(&self) -> io::Result<Box<dyn DiskQueue>> {
        Ok(Box::new(FailingQueue { disk: self.clone(), event: new_event()?, completed: Vec::new() }))
    }
}

struct FailingQueue {
    disk: FailingDisk,
    event: EventFd,
    completed: Vec<DiskCompletion>,
}

impl DiskQueue for FailingQueue {
    fn submit(&mut self, request: DiskRequest) {
        let mut state = self.disk.state();
        let result = match state.errno {
            Some(errno) => Err(errno.into()),
            None => {
                state.done.push((request.operation, request.offset_bytes));
                Ok(())
            }
        };
        self.completed.push(DiskCompletion { id: request.id, result });
        self.event.write(1).unwrap();
    }

    fn commit(&mut self) {}

    fn completion_event(&self) -> BorrowedFd<'_> {
        event_fd(&self.event)
    }

    fn completions(&mut self, out: &mut Vec<DiskCompletion>) {
        let _ = self.event.read();
        out.append(&mut self.completed);
    }

    fn drain(&mut self, out: &mut Vec<DiskCompletion>) {
        self.completions(out);
    }
}

struct Setup {
    disk: FailingDisk,
    machine: Arc<FakePower>,
    counters: Arc<crate::counters::BlockCounters>,
    driver: DirectDriver,
}

fn figure(counters: &crate::counters::BlockCounters, name: &str) -> u64 {
    counters.figures().into_iter().find(|(known, _)| *known == name).unwrap().1
}

impl Setup {
    fn figure(&self, name: &str) -> u64 {
        figure(&self.counters, name)
    }
}

fn setup(on_error: OnError) -> Setup {
    let (disk, machine) = (FailingDisk::default(), Arc::new(FakePower::default()));
    let device = device(Arc::new(disk.clone()), 1).on_error(on_error, "block7", machine.clone());
    let counters = Arc::clone(&device.counters);
    let features = device.features() | VIRTIO_F_VERSION_1;
    let mut driver = DirectDriver::new(Box::new(device));
    driver.start(features);
    Setup { disk, machine, counters, driver }
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// Each kind of request that reaches a disk: type, sector, data.
fn kinds() -> [(u32, u64, Vec<u8>, u32); 5] {
    [
        (spec::T_OUT, 8, vec![7; 1024], 0),
        (spec::T_IN, 16, vec![], 1024),
        (spec::T_FLUSH, 0, vec![], 0),
        (spec::T_DISCARD, 0, range(24, 8, 0), 0),
        (spec::T_WRITE_ZEROES, 0, range(32, 8, 0), 0),
    ]
}

#[test]
fn what_fails_is_told_once_a_kind_and_answered_with_an_error() {
    let mut s = setup(OnError::Report);
    for errno in [Errno::NOSPC, Errno::ROFS, Errno::IO] {
        s.disk.fails_with(Some(errno));
        for _ in 0..3 {
            for (kind, sector, data, room) in kinds() {
                assert_eq!(request(&mut s.driver, kind, sector, &data, room).0, spec::S_IOERR);
            }
        }
        let told = s.machine.take_failures();
        let [HostFailure { device, what, consequence }] = &told[..] else { panic!("{errno}: {told:?}") };
        assert_eq!((&device[..], *consequence), ("block7", Consequence::Told));
        assert_eq!(*what, Trouble::of(&errno.into()).in_words());
    }
    s.disk.fails_with(None);
    assert_eq!(request(&mut s.driver, spec::T_OUT, 0, &[1; 512], 0).0, spec::S_OK);
    assert_eq!([s.figure("failed"), s.figure("held")], [45, 0]);
}

#[test]
fn what_is_held_is_done_after_the_pause_and_the_guest_sees_nothing() {
    for errno in [Errno::NOSPC, Errno::DQUOT, Errno::FBIG, Errno::ROFS, Errno::STALE, Errno::IO, Errno::NOMEM]
    {
        let mut s = setup(OnError::Hold);
        s.disk.fails_with(Some(errno));
        let mut rooms = Vec::new();
        for (kind, sector, data, room) in kinds() {
            let readable = [s.driver.arena.put(&header(kind, sector)), s.driver.arena.put(&data)];
            let writable = [s.driver.arena.room(room), s.driver.arena.room(1)];
            rooms.push(writable[1]);
            s.driver.submit(0, &readable, &writable);
        }
        wait_until("all are held", || s.figure("held") == 5);
        // Once more, with no room yet: held again, and asked for a pause again.
        let states = s.driver.stop();
        assert_eq!(s.figure("held"), 5, "they wait while the queue stands");
        s.driver.resume(&states);
        wait_until("they are tried again", || s.machine.take_failures().len() == 2 || s.figure("held") == 5);
        wait_until("all are held again", || s.figure("held") == 5);
        let states = s.driver.stop();
        assert_eq!(
            (s.driver.ring(0).used_index(), s.disk.done().len()),
            (0, 0),
            "{errno}: the guest saw nothing"
        );
        s.disk.fails_with(None);
        s.driver.resume(&states);
        let heads: std::collections::BTreeSet<u32> = (0..5).map(|_| s.driver.wait(0).head).collect();
        assert_eq!(heads.len(), 5, "each is completed once");
        for room in rooms {
            assert_eq!(s.driver.arena.get(room), [spec::S_OK]);
        }
        assert_eq!(s.disk.done().len(), 5);
        assert_eq!(["failed", "held", "writes", "reads"].map(|name| s.figure(name)), [0, 0, 1, 1]);
    }
}

#[test]
fn one_pause_is_asked_for_however_much_fails() {
    let mut s = setup(OnError::Hold);
    s.disk.fails_with(Some(Errno::NOSPC));
    for sector in 0..20 {
        let readable = [s.driver.arena.put(&header(spec::T_OUT, sector)), s.driver.arena.put(&[1; 512])];
        let writable = [s.driver.arena.room(1)];
        s.driver.submit(0, &readable, &writable);
    }
    wait_until("all are held", || s.figure("held") == 20);
    let told = s.machine.take_failures();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].consequence, Consequence::Held);
}

#[test]
fn what_waits_is_part_of_the_saved_state() {
    let mut s = setup(OnError::Hold);
    s.disk.fails_with(Some(Errno::NOSPC));
    let readable = [s.driver.arena.put(&header(spec::T_OUT, 3)), s.driver.arena.put(&[9; 512])];
    let status = s.driver.arena.room(1);
    s.driver.submit(0, &readable, &[status]);
    wait_until("it is held", || s.figure("held") == 1);
    let states = s.driver.stop();
    let saved = s.driver.device().save_bytes().unwrap().unwrap();
    device_harness::golden::check(concat!(env!("CARGO_MANIFEST_DIR"), "/states/block-v3.bin"), &saved);

    let disk = FailingDisk::default();
    let machine = Arc::new(FakePower::default());
    let mut other = device(Arc::new(disk.clone()), 1).on_error(OnError::Hold, "block7", machine);
    other.restore_bytes(&saved).unwrap();
    assert_eq!(figure(&other.counters, "held"), 1);
    let mut two_queues = device(Arc::new(disk.clone()), 2);
    assert!(two_queues.restore_bytes(&saved).is_err(), "a queue is missing");
    s.driver.replace_device(Box::new(other));
    s.driver.resume(&states);
    s.driver.wait(0);
    assert_eq!(s.driver.arena.get(status), [spec::S_OK]);
    assert_eq!(disk.done(), [(DiskOperation::Write, 3 * 512)]);
}

#[test]
fn a_reset_by_the_driver_forgets_what_waits() {
    let mut s = setup(OnError::Hold);
    s.disk.fails_with(Some(Errno::NOSPC));
    let readable = [s.driver.arena.put(&header(spec::T_OUT, 3)), s.driver.arena.put(&[9; 512])];
    let status = s.driver.arena.room(1);
    s.driver.submit(0, &readable, &[status]);
    wait_until("it is held", || s.figure("held") == 1);
    s.driver.stop();
    s.driver.device().reset();
    assert_eq!(s.figure("held"), 0);
    s.disk.fails_with(None);
    s.driver.resume(&[Some(virtio_core::QueueState { next_avail: 1, next_used: 0 })]);
    s.driver.stop();
    assert!(s.disk.done().is_empty());
}

#[test]
fn a_disk_whose_file_is_gone_is_told_of_at_the_next_flush() {
    let mut s = setup(OnError::Report);
    s.disk.state().gone = true;
    for _ in 0..3 {
        assert_eq!(request(&mut s.driver, spec::T_FLUSH, 0, &[], 0).0, spec::S_OK);
    }
    let told = s.machine.take_failures();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].what, Trouble::Vanished.in_words());
}
