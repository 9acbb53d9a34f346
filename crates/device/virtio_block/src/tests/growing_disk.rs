//! A disk becomes longer while a driver uses it.

use device_harness::PciDriver;
use device_model::{Device, lock};
use disk::{ActiveDisk, DiskFormat, DiskOptions, PreparedDisk};
use virtio_core::spec as transport;

use super::*;

fn active(fixture: &Fixture) -> ActiveDisk {
    let (format, contents) = (DiskFormat::Raw, RawContents::Any);
    let options = DiskOptions { format, contents, read_only: false, block_bytes: None };
    PreparedDisk::open(&fixture.path, options).unwrap().activate().unwrap()
}

fn started(disk: &ActiveDisk) -> PciDriver {
    let device = device(disk.disk(), 1);
    let features = device.features() | VIRTIO_F_VERSION_1;
    let mut driver = PciDriver::new(Box::new(device));
    driver.start(features);
    driver
}

/// Generation, capacity in sectors, and how often a change of configuration was told since the last look.
fn seen(driver: &PciDriver) -> (u64, u64, usize) {
    let config = driver.structure(transport::CAPABILITY_DEVICE).offset;
    let capacity = driver.region_read(config + spec::CONFIG_CAPACITY as u64, 8);
    let told = driver.messages().into_iter().filter(|vector| *vector == 0).count();
    (driver.common_read(transport::CONFIG_GENERATION, 1), capacity, told)
}

/// Status of a read of one sector, by itself.
fn read(driver: &mut PciDriver, sector: u64) -> u8 {
    let header = header(spec::T_IN, sector);
    driver.request(0, &[&header], &[512, 1]).data[512]
}

const SECTORS: u64 = SIZE_BYTES as u64 / 512;

#[test]
fn the_driver_hears_of_it_once_and_reaches_all_of_it() {
    let fixture = Fixture::new();
    let disk = active(&fixture);
    let mut driver = started(&disk);
    assert_eq!(read(&mut driver, SECTORS), spec::S_IOERR);
    disk.resize(2 * SIZE_BYTES as u64).unwrap();
    assert_eq!(seen(&driver), (0, SECTORS, 0), "nothing has changed before the device looks");
    assert_eq!(read(&mut driver, SECTORS), spec::S_IOERR);
    for _ in 0..3 {
        lock(driver.function()).follow_backend();
    }
    assert_eq!(seen(&driver), (1, 2 * SECTORS, 1), "the configuration vector, once");
    assert_eq!(read(&mut driver, 2 * SECTORS - 1), spec::S_OK);
    assert_eq!(read(&mut driver, 2 * SECTORS), spec::S_IOERR);
}

#[test]
fn a_paused_device_tells_when_it_goes_on_here_or_elsewhere() {
    let fixture = Fixture::new();
    let disk = active(&fixture);
    let driver = started(&disk);
    lock(driver.function()).pause();
    let before = lock(driver.function()).save_bytes().unwrap();
    disk.resize(3 * SIZE_BYTES as u64).unwrap();
    lock(driver.function()).follow_backend();
    assert_eq!(lock(driver.function()).save_bytes().unwrap(), before, "what is paused stays as it is");
    let mut driver = driver.move_to(Box::new(device(disk.disk(), 1)));
    assert_eq!(seen(&driver), (1, 3 * SECTORS, 1));
    assert_eq!(read(&mut driver, 3 * SECTORS - 1), spec::S_OK);
    lock(driver.function()).pause();
    let driver = driver.move_to(Box::new(device(disk.disk(), 1)));
    assert_eq!(seen(&driver), (1, 3 * SECTORS, 0), "it knows that length");
}

#[test]
fn a_state_of_a_longer_disk_is_refused() {
    let fixture = Fixture::new();
    let disk = active(&fixture);
    let small = device(disk.disk(), 1);
    let small_state = small.save_bytes().unwrap().unwrap();
    disk.resize(2 * SIZE_BYTES as u64).unwrap();
    let state = device(disk.disk(), 1).save_bytes().unwrap().unwrap();
    let mut other = device(Fixture::new().disk(IoMethod::Auto), 1);
    let error = other.restore_bytes(&state).unwrap_err().to_string();
    assert!(error.contains("the disk is shorter than it was"), "{error}");
    other.restore_bytes(&small_state).unwrap();
}
