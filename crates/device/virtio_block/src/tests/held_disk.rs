//! What the device does while requests are in flight: a disk that holds them shows it.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use device_model::EventFd;
use disk::{DiskCompletion, DiskQueue, DiskRequest};
use guest_memory::GuestAddress;
use host_sys::poll::{event_fd, new_event};
use virtio_core::VIRTIO_F_EVENT_IDX;

use super::*;

/// A disk that keeps requests until it is told to finish them, the latest first.
#[derive(Clone, Default)]
struct HeldDisk {
    held: Arc<Mutex<Vec<DiskRequest>>>,
    released: Arc<Mutex<Vec<DiskCompletion>>>,
    event: Arc<Mutex<Option<EventFd>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HeldDisk {
    fn wait_for(&self, count: usize) {
        while locked(&self.held).len() < count {
            std::thread::yield_now();
        }
    }

    fn release(&self) {
        let finish = |request: DiskRequest| DiskCompletion { id: request.id, result: Ok(()) };
        locked(&self.released).extend(locked(&self.held).drain(..).rev().map(finish));
        locked(&self.event).as_ref().unwrap().write(1).unwrap();
    }
}

impl Disk for HeldDisk {
    fn size_bytes(&self) -> u64 {
        1 << 40
    }

    fn block_size_bytes(&self) -> u32 {
        512
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn can_discard(&self) -> bool {
        false
    }

    fn can_write_zeroes(&self) -> bool {
        true
    }

    fn open_queue(&self) -> io::Result<Box<dyn DiskQueue>> {
        let event = new_event()?;
        *locked(&self.event) = Some(event.try_clone()?);
        Ok(Box::new(HeldQueue { disk: self.clone(), event }))
    }
}

struct HeldQueue {
    disk: HeldDisk,
    event: EventFd,
}

impl DiskQueue for HeldQueue {
    fn submit(&mut self, request: DiskRequest) {
        locked(&self.disk.held).push(request);
    }

    fn commit(&mut self) {}

    fn completion_event(&self) -> BorrowedFd<'_> {
        event_fd(&self.event)
    }

    fn completions(&mut self, out: &mut Vec<DiskCompletion>) {
        let _ = self.event.read();
        out.append(&mut locked(&self.disk.released));
    }

    fn drain(&mut self, out: &mut Vec<DiskCompletion>) {
        self.disk.release();
        self.completions(out);
    }
}

#[test]
fn requests_complete_out_of_order_with_one_interrupt_a_batch() {
    let disk = HeldDisk::default();
    let mut driver = driver(Arc::new(disk.clone()), 1);
    let heads: Vec<u16> = (0..3).map(|sector| submit_read(&mut driver, sector, 512)).collect();
    disk.wait_for(3);
    assert_eq!(driver.ring(0).used_index(), 0);
    disk.release();
    let used: Vec<u32> = (0..3).map(|_| driver.wait(0).head).collect();
    assert!(used.iter().eq(heads.iter().rev().map(|head| u32::from(*head)).collect::<Vec<_>>().iter()));
    driver.stop();
    assert_eq!(driver.interrupt(0).used(), 1);
}

fn submit_read(driver: &mut DirectDriver, sector: u64, len: u32) -> u16 {
    let readable = [driver.arena.put(&header(spec::T_IN, sector))];
    // All reads go to the same place: what counts is how many and how long they are.
    let writable = [(GuestAddress(0), len), driver.arena.room(1)];
    driver.submit(0, &readable, &writable)
}

#[test]
fn bytes_in_flight_are_bounded_and_draining_finishes_them() {
    let disk = HeldDisk::default();
    let mut driver = driver(Arc::new(disk.clone()), 1);
    (0..20).for_each(|_| {
        submit_read(&mut driver, 0, 8 << 20);
    });
    disk.wait_for(8);
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(locked(&disk.held).len(), 8, "64 MiB and no more");
    disk.release();
    disk.wait_for(8);
    let states = driver.stop();
    assert_eq!(states[0].map(|state| state.next_used), Some(16));
    driver.resume(&states);
    disk.wait_for(4);
    disk.release();
    (0..20).for_each(|_| assert_eq!(driver.wait(0).written_bytes, (8 << 20) + 1));
}

#[test]
fn the_cache_mode_decides_what_is_durable() {
    let cases = [
        (spec::F_FLUSH | spec::F_CONFIG_WCE, 1u8, false),
        (spec::F_FLUSH | spec::F_CONFIG_WCE, 0, true),
        (spec::F_FLUSH, 0, false),
        (0, 1, true),
    ];
    for (features, writeback, durable) in cases {
        let disk = HeldDisk::default();
        let mut driver = DirectDriver::new(Box::new(device(Arc::new(disk.clone()), 1)));
        driver.device().write_config(spec::CONFIG_WRITEBACK, &[writeback]);
        driver.start(features | VIRTIO_F_EVENT_IDX);
        let write = [header(spec::T_OUT, 0), vec![0; 512]].concat();
        let (readable, writable) = ([driver.arena.put(&write)], [driver.arena.room(1)]);
        driver.submit(0, &readable, &writable);
        submit_read(&mut driver, 0, 512);
        disk.wait_for(2);
        let durables: Vec<bool> = locked(&disk.held).iter().map(|request| request.durable).collect();
        assert_eq!(durables, [durable, false], "{features:#x} {writeback}");
    }
}

#[test]
fn reads_mark_their_pages_dirty_when_they_complete() {
    let disk = HeldDisk::default();
    let mut driver = driver(Arc::new(disk.clone()), 1);
    submit_read(&mut driver, 0, 512);
    disk.wait_for(1);
    driver.arena.memory().slots().take_device_dirty();
    disk.release();
    driver.wait(0);
    assert!(driver.arena.memory().slots().take_device_dirty().iter().any(|gpa| gpa == 0));
}
