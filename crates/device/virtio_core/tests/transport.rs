//! The PCI transport as a guest sees it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use device_harness::{EchoDevice, PciDriver, REPLY_TIMEOUT, RecordingDoorbells};
use device_model::{Consequence, Device, lock};
use virtio_core::{VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC, VIRTIO_F_VERSION_1, spec};

const FEATURES: u64 = VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | EchoDevice::FEATURE;
const DRIVER_OK: u8 =
    spec::STATUS_ACKNOWLEDGE | spec::STATUS_DRIVER | spec::STATUS_FEATURES_OK | spec::STATUS_DRIVER_OK;

fn driver() -> PciDriver {
    PciDriver::new(Box::new(EchoDevice::new(2)))
}

fn started() -> PciDriver {
    let mut driver = driver();
    driver.start(FEATURES);
    driver
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + REPLY_TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "timed out: {what}");
        std::thread::sleep(Duration::from_micros(50));
    }
}

#[test]
fn identity_and_structures_are_found() {
    let driver = driver();
    assert_eq!(driver.config_read(0, 4), 0x1043_1af4);
    assert_eq!(driver.config_read(8, 4), 0x0780_0001);
    assert_eq!(driver.config_read(0x2c, 4), 0x0043_1af4);
    assert_eq!(driver.config_read(0x3d, 1), 0, "no INTx");
    let region_bytes = 0x1_0000;
    let mut ends = Vec::new();
    for cfg_type in
        [spec::CAPABILITY_COMMON, spec::CAPABILITY_ISR, spec::CAPABILITY_DEVICE, spec::CAPABILITY_NOTIFY]
    {
        let structure = driver.structure(cfg_type);
        assert!(structure.offset >= ends.last().copied().unwrap_or(0), "structures do not overlap");
        ends.push(structure.offset + structure.len);
    }
    assert!(*ends.last().unwrap() <= region_bytes);
    assert_eq!(driver.capabilities(0x11).len(), 1);
    assert_eq!(driver.region_address() % region_bytes, 0);
}

#[test]
fn a_request_goes_through_the_whole_transport() {
    let mut driver = started();
    assert_eq!(driver.offered(), FEATURES);
    for queue in [0, 1, 0] {
        let reply = driver.request(queue, &[b"ab", b"cd"], &[3, 8]);
        assert_eq!((reply.written_bytes, &reply.data[..4]), (4, &b"abcd"[..]));
        wait_until("the queue's vector", || driver.messages().contains(&(u32::from(queue) + 1)));
    }
    let served = lock(driver.function()).served();
    assert_eq!([served[0].load(Ordering::Relaxed), served[1].load(Ordering::Relaxed)], [2, 1]);
}

#[test]
fn doorbells_follow_the_region() {
    let doorbells = Arc::new(RecordingDoorbells::default());
    let mut driver = PciDriver::with_doorbells(Box::new(EchoDevice::new(2)), doorbells.clone());
    assert!(doorbells.addresses().is_empty());
    driver.start(FEATURES);
    let first = driver.region_address() + driver.doorbell(0);
    assert_eq!(doorbells.addresses(), [first, first + 4]);
    let buffer = driver.arena.put(b"1234");
    let room = driver.arena.room(4);
    driver.ring(1).add(&[buffer], &[room]);
    assert!(doorbells.ring(first + 4));
    driver.wait(1);
    let moved = driver.region_address() + 0x10_0000;
    driver.config_write(0x10, 4, moved);
    assert_eq!(doorbells.addresses(), [moved + 0x3000, moved + 0x3004]);
    // Sizing while decoding puts the region outside the windows for a moment.
    driver.config_write(0x14, 4, 0xffff_ffff);
    assert!(doorbells.addresses().is_empty());
    driver.config_write(0x14, 4, moved >> 32);
    assert_eq!(doorbells.addresses().len(), 2);
    assert_eq!(driver.request(0, &[b"x"], &[1]).data, b"x");
    driver.config_write(4, 2, 0);
    assert!(doorbells.addresses().is_empty());
}

#[test]
fn features_are_refused_or_final() {
    let driver = driver();
    driver.enable_function();
    for refused in [0, EchoDevice::FEATURE, VIRTIO_F_VERSION_1 | 1, FEATURES | 1 << 63] {
        assert!(!driver.negotiate(refused), "{refused:#x}");
        driver.add_status(spec::STATUS_DRIVER_OK);
        assert_eq!(driver.status(), spec::STATUS_ACKNOWLEDGE | spec::STATUS_DRIVER);
    }
    assert!(driver.negotiate(FEATURES));
    driver.common_write(spec::DRIVER_FEATURE_SELECT, 4, 0);
    driver.common_write(spec::DRIVER_FEATURE, 4, 0xffff_ffff);
    assert_eq!(driver.common_read(spec::DRIVER_FEATURE, 4), FEATURES & 0xffff_ffff);
    driver.common_write(spec::DEVICE_FEATURE_SELECT, 4, 2);
    assert_eq!(driver.common_read(spec::DEVICE_FEATURE, 4), 0);
}

#[test]
fn registers_keep_to_their_rules() {
    let driver = driver();
    driver.enable_function();
    driver.common_write(spec::QUEUE_SELECT, 2, 0);
    // (register, bytes, value written, value read back)
    let cases = [
        (spec::QUEUE_SIZE, 2, 64, 64),
        (spec::QUEUE_SIZE, 2, 0, 64),
        (spec::QUEUE_SIZE, 2, 48, 64),
        (spec::QUEUE_SIZE, 2, 256, 64),
        (spec::QUEUE_SIZE, 4, 32, 0xffff_0040),
        (spec::QUEUE_SIZE, 1, 32, 64),
        (spec::CONFIG_VECTOR, 2, 2, 2),
        (spec::CONFIG_VECTOR, 2, 3, u64::from(spec::NO_VECTOR)),
        (spec::QUEUE_VECTOR, 2, 0x100, u64::from(spec::NO_VECTOR)),
        (spec::QUEUE_VECTOR, 2, 1, 1),
        (spec::QUEUE_DESCRIPTORS, 8, 0x1_2345_6780, 0x1_2345_6780),
        (spec::QUEUE_DESCRIPTORS, 2, 0, 0x6780),
        (spec::QUEUE_ENABLE, 2, 0, 0),
        (spec::QUEUE_ENABLE, 2, 2, 0),
        (spec::NUM_QUEUES, 2, 9, 2),
        (spec::CONFIG_GENERATION, 1, 9, 0),
        (spec::QUEUE_NOTIFY_OFFSET, 2, 9, 0),
        (0x38, 8, u64::MAX, 0),
    ];
    for (register, len, written, read) in cases {
        driver.common_write(register, len, written);
        let wide = if len == 1 { 1 } else { len.max(2) };
        let mask = if wide == 8 { u64::MAX } else { (1 << (8 * wide)) - 1 };
        let found = driver.common_read(register, wide);
        assert_eq!(found, read & mask, "{register:#x} {written:#x}");
    }
    driver.common_write(spec::QUEUE_DESCRIPTORS + 4, 4, 7);
    assert_eq!(driver.common_read(spec::QUEUE_DESCRIPTORS, 8), 0x7_2345_6780);
    driver.common_write(spec::QUEUE_ENABLE, 2, 1);
    driver.common_write(spec::QUEUE_ENABLE, 2, 1);
    driver.common_write(spec::QUEUE_ENABLE, 2, 0);
    driver.common_write(spec::QUEUE_SIZE, 2, 32);
    driver.common_write(spec::QUEUE_USED, 4, 0x1000);
    let enabled =
        [spec::QUEUE_ENABLE, spec::QUEUE_SIZE, spec::QUEUE_USED].map(|at| driver.common_read(at, 2));
    assert_eq!(enabled, [1, 64, 0], "an enabled queue stays as it is");
    driver.common_write(spec::QUEUE_SELECT, 2, 2);
    assert_eq!(driver.common_read(spec::QUEUE_SIZE, 2), 0, "no such queue");
    driver.common_write(spec::QUEUE_ENABLE, 2, 1);
    driver.common_write(spec::QUEUE_VECTOR, 2, 1);
    assert_eq!(driver.common_read(spec::QUEUE_VECTOR, 2), u64::from(spec::NO_VECTOR));
}

#[test]
fn broken_rings_and_failed_starts_ask_for_a_reset() {
    let mut driver = started();
    driver.ring(0).set_avail_index(0x4000);
    driver.kick(0);
    wait_until("DEVICE_NEEDS_RESET", || driver.status() == DRIVER_OK | spec::STATUS_NEEDS_RESET);
    wait_until("the configuration vector", || driver.messages().contains(&0));
    assert_eq!(driver.request(1, &[b"y"], &[1]).data, b"y", "the other queue goes on");
    driver.start(FEATURES);
    assert_eq!(driver.status(), DRIVER_OK);
    assert_eq!(driver.request(0, &[b"z"], &[1]).data, b"z");
    // Rings at address zero of a size that fits nowhere near the end of RAM.
    for (register, address) in [(spec::QUEUE_USED, (16 << 20) - 8), (spec::QUEUE_DESCRIPTORS, 0x1_0008)] {
        assert!(driver.negotiate(FEATURES));
        driver.common_write(spec::QUEUE_SELECT, 2, 0);
        driver.common_write(register, 8, address);
        driver.common_write(spec::QUEUE_ENABLE, 2, 1);
        driver.add_status(spec::STATUS_DRIVER_OK);
        assert_eq!(driver.status(), DRIVER_OK | spec::STATUS_NEEDS_RESET);
    }
}

#[test]
fn a_device_that_cannot_start_says_so() {
    let device = EchoDevice::new(1);
    let control = device.control();
    let mut driver = PciDriver::new(Box::new(device));
    control.refuse(true);
    driver.enable_function();
    assert!(driver.negotiate(FEATURES));
    driver.set_up_queues();
    driver.add_status(spec::STATUS_DRIVER_OK);
    assert_eq!(driver.status(), DRIVER_OK | spec::STATUS_NEEDS_RESET);
    control.refuse(false);
    driver.start(FEATURES);
    assert_eq!(driver.request(0, &[b"q"], &[1]).data, b"q");
}

#[test]
fn a_queue_that_the_host_has_nothing_for_ends_the_machine() {
    let device = EchoDevice::new(2);
    let control = device.control();
    let mut driver = PciDriver::new(Box::new(device));
    driver.enable_function();
    assert!(driver.negotiate(FEATURES));
    driver.set_up_queues();
    control.refuse(true);
    driver.add_status(spec::STATUS_DRIVER_OK);
    assert!(driver.machine().take_failures().is_empty(), "a driver's mistake is its own");

    let device = EchoDevice::new(2);
    device.control().starve();
    let mut driver = PciDriver::new(Box::new(device));
    driver.enable_function();
    assert!(driver.negotiate(FEATURES));
    driver.set_up_queues();
    driver.add_status(spec::STATUS_DRIVER_OK);
    let told = driver.machine().take_failures();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!((&told[0].device[..], told[0].consequence), ("virtio-test", Consequence::Fatal));
    assert!(told[0].what.starts_with("queue 0 has no way to what is behind it: "), "{}", told[0].what);
    assert!(told[0].what.ends_with("raise 'ulimit -n'"), "{}", told[0].what);
}

#[test]
fn reset_forgets_the_driver() {
    let device = EchoDevice::new(1);
    let control = device.control();
    let mut driver = PciDriver::new(Box::new(device));
    driver.start(FEATURES);
    let config = driver.structure(spec::CAPABILITY_DEVICE).offset;
    driver.region_write(config, 4, 0xabcd);
    assert_eq!(driver.region_read(config, 4), 0xabcd);
    let resets = control.resets();
    driver.common_write(spec::DEVICE_STATUS, 1, 0);
    assert_eq!((driver.status(), control.resets()), (0, resets + 1));
    assert_eq!(driver.region_read(config, 4), 0);
    driver.common_write(spec::QUEUE_SELECT, 2, 0);
    assert_eq!(driver.common_read(spec::QUEUE_ENABLE, 2), 0);
    assert_eq!(driver.common_read(spec::QUEUE_SIZE, 2), u64::from(EchoDevice::QUEUE_SIZE));
    assert_eq!(driver.common_read(spec::CONFIG_VECTOR, 2), u64::from(spec::NO_VECTOR));
    driver.start(FEATURES);
    lock(driver.function()).reset();
    driver.root().assign_bars().unwrap();
    assert_eq!(driver.config_read(4, 2), 0);
    driver.start(FEATURES);
    assert_eq!(driver.request(0, &[b"again"], &[5]).data, b"again");
}

#[test]
fn configuration_changes_are_announced() {
    let device = EchoDevice::new(1);
    let control = device.control();
    let mut driver = PciDriver::new(Box::new(device));
    driver.start(FEATURES);
    let (config, isr) = (driver.structure(spec::CAPABILITY_DEVICE), driver.structure(spec::CAPABILITY_ISR));
    driver.region_read(isr.offset, 1);
    let generation = driver.common_read(spec::CONFIG_GENERATION, 1);
    control.show(77);
    assert_eq!(driver.messages(), [0]);
    assert_eq!(driver.common_read(spec::CONFIG_GENERATION, 1), generation + 1);
    assert_eq!(driver.region_read(config.offset + 4, 4), 77);
    assert_eq!(driver.region_read(config.offset + config.len - 2, 2), 0);
    assert_eq!(driver.region_read(isr.offset, 1), u64::from(spec::ISR_CONFIG));
    assert_eq!(driver.region_read(isr.offset, 4), 0, "cleared by reading");
}

#[test]
fn a_queue_without_a_vector_shows_in_isr_status() {
    let mut driver = started();
    driver.common_write(spec::QUEUE_SELECT, 2, 0);
    driver.common_write(spec::QUEUE_VECTOR, 2, u64::from(spec::NO_VECTOR));
    let isr = driver.structure(spec::CAPABILITY_ISR).offset;
    driver.request(0, &[b"x"], &[1]);
    wait_until("ISR status", || driver.region_read(isr, 1) & u64::from(spec::ISR_QUEUE) != 0);
    assert!(driver.messages().is_empty());
}

#[test]
fn the_region_is_reached_through_configuration_space() {
    let driver = driver();
    driver.enable_function();
    let window = driver.structure(spec::CAPABILITY_PCI).capability;
    let (bar, offset, len, data) = (window + 4, window + 8, window + 12, window + 16);
    let point = |to: u64, bytes: u64| {
        driver.config_write(offset, 4, to);
        driver.config_write(len, 4, bytes);
    };
    point(spec::QUEUE_SELECT, 2);
    driver.config_write(data, 2, 1);
    assert_eq!(driver.common_read(spec::QUEUE_SELECT, 2), 1);
    assert_eq!(driver.config_read(data, 4), 1);
    point(spec::NUM_QUEUES, 2);
    assert_eq!(driver.config_read(data, 2), 2);
    let nonsense =
        [(0x13, 2), (0, 3), (0, 0), (0x1000, 3), (0x1_0000, 4), (0xffff_fffc, 4), (0, u64::from(u32::MAX))];
    for (to, bytes) in nonsense {
        point(to, bytes);
        driver.config_write(data, 4, 0xffff_ffff);
        assert_eq!(driver.config_read(data, 4), 0, "{to:#x} {bytes}");
    }
    point(spec::NUM_QUEUES, 2);
    driver.config_write(bar, 1, 3);
    assert_eq!(driver.config_read(data, 4), 0, "no such region");
}

#[test]
fn any_access_to_the_region_is_answered() {
    let mut driver = started();
    for offset in (0..0x1_0000_u64).step_by(509).chain(0..0x48).chain(0xffc..0x1010).chain(0x8000..0x8040) {
        for len in [1, 2, 3, 4, 8] {
            let value = driver.region_read(offset, len);
            if !(0x14..0x18).contains(&offset) {
                driver.region_write(offset, len, !value);
                driver.region_write(offset, len, 0);
            }
        }
    }
    driver.start(FEATURES);
    assert_eq!(driver.request(1, &[b"fine"], &[4]).data, b"fine");
}
