//! Saving a device with its transport and going on elsewhere.

use std::time::Instant;

use device_harness::{EchoDevice, PciDriver, REPLY_TIMEOUT};
use device_model::{AnySnapshot, Device, SnapshotError, lock};
use virtio_core::{VIRTIO_F_EVENT_IDX, VIRTIO_F_VERSION_1, spec};

const FEATURES: u64 = VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX;

fn device() -> Box<EchoDevice> {
    Box::new(EchoDevice::new(2))
}

fn started() -> PciDriver {
    let mut driver = PciDriver::new(device());
    driver.start(FEATURES);
    driver
}

fn saved(driver: &PciDriver) -> Vec<u8> {
    let mut function = lock(driver.function());
    function.pause();
    function.save_bytes().ok().flatten().expect("a paused device is saved")
}

#[test]
fn a_moved_device_goes_on_where_it_was() {
    let mut driver = started();
    let config = driver.structure(spec::CAPABILITY_DEVICE).offset;
    driver.region_write(config, 4, 0x5eed);
    for round in 0..3_u8 {
        for queue in 0..2 {
            let sent = [round, queue as u8, 7];
            assert_eq!(driver.request(queue, &[&sent], &[3]).data, sent);
        }
        let (room, buffer) = (driver.arena.room(4), driver.arena.put(b"wait"));
        lock(driver.function()).pause();
        driver.submit(0, &[buffer], &[room]);
        driver = driver.move_to(device());
        driver.wait(0);
        assert_eq!(driver.arena.get(room), b"wait", "what was available meanwhile is served");
        assert_eq!(driver.region_read(config, 4), 0x5eed);
        assert_eq!(driver.status(), 0xf);
    }
    driver.messages();
    driver.request(1, &[b"m"], &[1]);
    let deadline = Instant::now() + REPLY_TIMEOUT;
    while !driver.messages().contains(&2) {
        assert!(Instant::now() < deadline, "the queue's vector works after the move");
        std::thread::yield_now();
    }
}

#[test]
fn pausing_is_idempotent_and_resuming_serves_what_came_meanwhile() {
    let mut driver = started();
    lock(driver.function()).pause();
    lock(driver.function()).pause();
    let (room, buffer) = (driver.arena.room(4), driver.arena.put(b"late"));
    driver.submit(1, &[buffer], &[room]);
    assert_eq!(driver.ring(1).used_index(), 0);
    lock(driver.function()).resume();
    driver.wait(1);
    assert_eq!(driver.arena.get(room), b"late");
}

#[test]
fn a_running_device_is_not_saved() {
    let driver = started();
    assert!(matches!(lock(driver.function()).save_bytes(), Err(SnapshotError::Refused(_))));
}

#[test]
fn state_of_another_device_is_refused() {
    let bytes = saved(&started());
    let other = PciDriver::new(Box::new(EchoDevice::new(3)));
    assert!(lock(other.function()).restore_bytes(&bytes).is_err());
}

#[test]
fn damaged_state_never_harms() {
    let bytes = saved(&started());
    for position in 0..bytes.len() {
        for damage in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[position] ^= damage;
            let target = PciDriver::new(device());
            let restored = lock(target.function()).restore_bytes(&damaged);
            if restored.is_ok() && position % 7 == 0 {
                target.root().follow_all();
                lock(target.function()).resume();
            }
        }
        let target = PciDriver::new(device());
        assert!(lock(target.function()).restore_bytes(&bytes[..position]).is_err(), "cut at {position}");
    }
}

#[test]
fn version_1_is_written_as_it_was() {
    let mut driver = started();
    driver.request(0, &[b"once"], &[4]);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/states/virtio-pci-v1.bin");
    device_harness::golden::check(path, &saved(&driver));
}
