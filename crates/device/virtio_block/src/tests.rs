//! The device over real files, driven without a transport.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use device_harness::{Arena, DirectDriver, Piece, Reply};
use device_model::AnySnapshot;
use disk::{Disk, IoMethod, RawContents, RawDisk};
use tempfile::TempDir;
use virtio_core::{VIRTIO_F_VERSION_1, VirtioDevice};

use crate::{Offer, VirtioBlock, spec};

mod failing_disk;
mod growing_disk;
mod held_disk;

const SIZE_BYTES: usize = 1 << 20;

struct Fixture {
    _folder: TempDir,
    path: PathBuf,
}

impl Fixture {
    fn new() -> Fixture {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("disk.img");
        fs::write(&path, vec![0; SIZE_BYTES]).unwrap();
        Fixture { _folder: folder, path }
    }

    fn disk(&self, method: IoMethod) -> Arc<dyn Disk> {
        Arc::new(RawDisk::open(&self.path, false, RawContents::Any).unwrap().with_method(method))
    }

    fn disk_of_large_blocks(&self) -> Arc<dyn Disk> {
        let disk = RawDisk::open(&self.path, false, RawContents::Any).unwrap();
        Arc::new(disk.with_block_size(4096).unwrap())
    }

    fn contents(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }
}

fn device(disk: Arc<dyn Disk>, queues: u16) -> VirtioBlock {
    VirtioBlock::new(disk, "beam-1", queues).unwrap()
}

/// A driver that has started a device over `disk` with all that it offers.
fn driver(disk: Arc<dyn Disk>, queues: u16) -> DirectDriver {
    let device = device(disk, queues);
    let features = device.features() | VIRTIO_F_VERSION_1;
    let mut driver = DirectDriver::new(Box::new(device));
    driver.start(features);
    driver
}

fn header(kind: u32, sector: u64) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat()
}

fn range(sector: u64, num_sectors: u32, flags: u32) -> Vec<u8> {
    [&sector.to_le_bytes()[..], &num_sectors.to_le_bytes(), &flags.to_le_bytes()].concat()
}

/// A request on queue 0 whose status is in a buffer of its own; returns status, length told, and data.
fn request(driver: &mut DirectDriver, kind: u32, sector: u64, data: &[u8], room: u32) -> (u8, u32, Vec<u8>) {
    let header = header(kind, sector);
    let readable: Vec<&[u8]> = if data.is_empty() { vec![&header] } else { vec![&header, data] };
    let writable = if room == 0 { vec![1] } else { vec![room, 1] };
    let Reply { written_bytes, mut data } = driver.request(0, &readable, &writable);
    let status = data.pop().unwrap();
    (status, written_bytes, data)
}

#[test]
fn every_kind_of_request_does_what_it_says() {
    for method in [IoMethod::Auto, IoMethod::Threads] {
        let fixture = Fixture::new();
        let mut driver = driver(fixture.disk(method), 1);
        assert_eq!(request(&mut driver, spec::T_OUT, 2, &[7; 4096], 0), (0, 1, vec![]));
        assert_eq!(request(&mut driver, spec::T_FLUSH, 0, &[], 0), (0, 1, vec![]));
        assert!(fixture.contents()[1024..5120] == [7; 4096]);
        let (status, written, data) = request(&mut driver, spec::T_IN, 1, &[], 1024);
        assert_eq!((status, written), (0, 1025));
        assert!(data[..512] == [0; 512] && data[512..] == [7; 512]);
        let (status, written, data) = request(&mut driver, spec::T_GET_ID, 0, &[], 20);
        assert_eq!((status, written, &data[..]), (0, 21, &b"beam-1\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..]));
        assert_eq!(request(&mut driver, spec::T_GET_ID, 0, &[], 4), (0, 5, b"beam".to_vec()));
        let zeroes = range(3, 1, 0);
        assert_eq!(request(&mut driver, spec::T_WRITE_ZEROES, 0, &zeroes, 0), (0, 1, vec![]));
        let discards = [range(5, 1, 0), range(7, 1, 0), range(9, 0, 0)].concat();
        assert_eq!(request(&mut driver, spec::T_DISCARD, 0, &discards, 0), (0, 1, vec![]));
        assert_eq!(request(&mut driver, spec::T_IN, 0, &[], 0), (0, 1, vec![]), "a read of nothing");
        let contents = fixture.contents();
        let zeroed: Vec<usize> = (2..10).filter(|at| contents[at * 512..][..512] == [0; 512]).collect();
        assert_eq!(zeroed, [3, 5, 7]);
        assert_eq!(contents.len(), SIZE_BYTES);
    }
}

#[test]
fn what_is_not_offered_is_not_served() {
    let fixture = Fixture::new();
    let device = device(fixture.disk(IoMethod::Auto), 1);
    let all = device.features();
    assert_eq!(all & (spec::F_DISCARD | spec::F_WRITE_ZEROES), spec::F_DISCARD | spec::F_WRITE_ZEROES);
    let device = device.offering(Offer { discard: false, write_zeroes: true });
    assert_eq!(device.features(), all & !spec::F_DISCARD);
    let mut limits = [0xff; 12];
    device.read_config(spec::CONFIG_MAX_DISCARD_SECTORS, &mut limits);
    assert_eq!(limits, [0; 12]);
    let mut driver = DirectDriver::new(Box::new(device));
    driver.start(all);
    assert_eq!(request(&mut driver, spec::T_DISCARD, 0, &range(0, 1, 0), 0).0, spec::S_UNSUPP);
    assert_eq!(request(&mut driver, spec::T_WRITE_ZEROES, 0, &range(0, 1, 1), 0).0, spec::S_OK);
}

#[test]
fn counters_tell_what_was_done() {
    let fixture = Fixture::new();
    let device = device(fixture.disk(IoMethod::Auto), 1);
    let counters = Arc::clone(&device.counters);
    let features = device.features();
    let mut driver = DirectDriver::new(Box::new(device));
    driver.start(features);
    request(&mut driver, spec::T_OUT, 0, &[1; 1024], 0);
    request(&mut driver, spec::T_IN, 0, &[], 512);
    request(&mut driver, spec::T_IN, 0, &[], 512);
    request(&mut driver, spec::T_FLUSH, 0, &[], 0);
    request(&mut driver, spec::T_DISCARD, 0, &range(0, 1, 0), 0);
    request(&mut driver, spec::T_WRITE_ZEROES, 0, &range(0, 1, 1), 0);
    request(&mut driver, 99, 0, &[], 0);
    fs::File::options().write(true).open(&fixture.path).unwrap().set_len(512).unwrap();
    assert_eq!(request(&mut driver, spec::T_IN, 1, &[], 512).0, spec::S_IOERR, "the file has shrunk");
    let expected = [
        ("reads", 2),
        ("writes", 1),
        ("flushes", 1),
        ("discards", 1),
        ("write_zeroes", 1),
        ("read_bytes", 1024),
        ("written_bytes", 1024),
        ("refused", 1),
        ("failed", 1),
        ("held", 0),
    ];
    assert_eq!(counters.figures(), expected);
}

#[test]
fn configuration_space_describes_the_disk() {
    let fixture = Fixture::new();
    let mut device = device(fixture.disk(IoMethod::Auto), 4);
    let read = |device: &VirtioBlock| {
        let mut space = [0xff; 64];
        device.read_config(0, &mut space);
        space
    };
    let space = read(&device);
    assert_eq!(space[..8], (SIZE_BYTES as u64 / 512).to_le_bytes());
    assert_eq!((&space[12..16], &space[20..24]), (&254u32.to_le_bytes()[..], &512u32.to_le_bytes()[..]));
    assert_eq!((space[32], &space[34..36]), (1, &[4, 0][..]));
    assert_eq!((space[40], space[44], space[52], space[56]), (16, 1, 1, 1));
    assert_eq!(space[60..], [0; 4], "beyond its end");
    // Only `writeback` can be written, in whatever width.
    device.write_config(0, &[0xee; 60]);
    device.write_config(33, &[0xee; 60]);
    device.write_config(usize::MAX, &[0xee; 8]);
    assert_eq!(read(&device), space);
    device.write_config(30, &[9, 9, 0, 9]);
    assert_eq!(read(&device)[32], 0);
    let saved = device.save_bytes().unwrap().unwrap();
    device.reset();
    assert_eq!(read(&device)[32], 1);
    device.restore_bytes(&saved).unwrap();
    assert_eq!(read(&device)[32], 0);
    assert!(device.restore_bytes(&[1, 7]).is_err());
}

#[test]
fn blocks_of_4096_bytes_are_offered_and_kept_to() {
    let fixture = Fixture::new();
    let device = device(fixture.disk_of_large_blocks(), 1);
    let mut space = [0; 64];
    device.read_config(0, &mut space);
    assert_eq!(space[..8], (SIZE_BYTES as u64 / 512).to_le_bytes(), "the capacity stays in sectors");
    assert_eq!(space[20..24], 4096u32.to_le_bytes());
    assert_eq!(space[24..32], [0, 0, 1, 0, 0, 0, 0, 0], "topology");
    assert_eq!(space[44..48], 8u32.to_le_bytes(), "alignment of discards");
    let all = device.features();
    assert!(all & spec::F_BLK_SIZE != 0 && all & spec::F_TOPOLOGY != 0);
    drop(device);
    for (features, status) in [(all, spec::S_IOERR), (all & !spec::F_BLK_SIZE, spec::S_OK)] {
        let fixture = Fixture::new();
        let disk = fixture.disk_of_large_blocks();
        let mut driver = DirectDriver::new(Box::new(self::device(disk, 1)));
        driver.start(features | VIRTIO_F_VERSION_1);
        assert_eq!(request(&mut driver, spec::T_OUT, 8, &[7; 4096], 0).0, spec::S_OK);
        assert_eq!(request(&mut driver, spec::T_IN, 8, &[], 4096).2, [7; 4096]);
        for (kind, sector, data, room) in [
            (spec::T_OUT, 8, vec![8; 512], 0),
            (spec::T_OUT, 9, vec![7; 4096], 0),
            (spec::T_IN, 8, vec![], 512),
            (spec::T_DISCARD, 0, range(8, 7, 0), 0),
            (spec::T_WRITE_ZEROES, 0, range(1, 8, 0), 0),
        ] {
            assert_eq!(request(&mut driver, kind, sector, &data, room).0, status, "{kind} at {sector}");
        }
    }
}

#[test]
fn read_only_disks_say_so_and_refuse() {
    let fixture = Fixture::new();
    let disk = RawDisk::open(&fixture.path, true, RawContents::Any).unwrap();
    let mut driver = driver(Arc::new(disk), 1);
    let features = driver.device().features();
    assert_eq!(features & spec::F_RO, spec::F_RO);
    let offered = spec::F_FLUSH | spec::F_CONFIG_WCE | spec::F_DISCARD | spec::F_WRITE_ZEROES;
    assert_eq!(features & offered, 0);
    assert_eq!(request(&mut driver, spec::T_OUT, 0, &[1; 512], 0).0, spec::S_IOERR);
    assert_eq!(request(&mut driver, spec::T_WRITE_ZEROES, 0, &range(0, 1, 0), 0).0, spec::S_UNSUPP);
    assert_eq!(request(&mut driver, spec::T_DISCARD, 0, &range(0, 1, 0), 0).0, spec::S_UNSUPP);
    assert_eq!(request(&mut driver, spec::T_IN, 0, &[], 512), (0, 513, vec![0; 512]));
    assert!(fixture.contents() == vec![0; SIZE_BYTES]);
}

#[test]
fn devices_that_cannot_be_are_not_built() {
    let fixture = Fixture::new();
    let disk = fixture.disk(IoMethod::Auto);
    let error = VirtioBlock::new(Arc::clone(&disk), "123456789012345678901", 1).err().unwrap();
    assert_eq!(error.to_string(), "disk serial number '123456789012345678901' is longer than 20 bytes");
    assert!(VirtioBlock::new(Arc::clone(&disk), "12345678901234567890", 1).is_ok());
    assert!(VirtioBlock::new(disk, "", 0).is_err());
}

#[test]
fn hostile_chains_are_answered_and_the_queue_goes_on() {
    let fixture = Fixture::new();
    let mut driver = driver(fixture.disk(IoMethod::Auto), 1);
    let outside: Piece = (guest_memory::GuestAddress(u64::MAX - 3), 512);
    let good = driver.arena.put(&header(spec::T_IN, 0));
    let id = driver.arena.put(&header(spec::T_GET_ID, 0));
    let short = driver.arena.put(&[0; 8]);
    let status = driver.arena.room(1);
    // What is not answered in the status byte keeps the mark that it starts with.
    let cases: Vec<(Vec<Piece>, Vec<Piece>, u8, u32)> = vec![
        (vec![good], vec![], 0xaa, 0),
        (vec![], vec![status], spec::S_IOERR, 1),
        (vec![short], vec![status], spec::S_IOERR, 1),
        (vec![good], vec![outside, status], spec::S_IOERR, 0),
        (vec![good], vec![status, outside], 0xaa, 0),
        (vec![outside], vec![status], spec::S_IOERR, 1),
        (vec![id], vec![outside, status], spec::S_IOERR, 0),
        (vec![good], vec![outside; 100], 0xaa, 0),
        (vec![good], vec![(status.0, 0)], 0xaa, 0),
    ];
    for (index, (readable, writable, expected, written)) in cases.into_iter().enumerate() {
        driver.arena.write(status.0, &[0xaa]);
        driver.submit(0, &readable, &writable);
        assert_eq!(driver.wait(0).written_bytes, written, "case {index}");
        assert_eq!(driver.arena.get(status), [expected], "case {index}");
    }
    assert_eq!(request(&mut driver, spec::T_IN, 0, &[], 512), (0, 513, vec![0; 512]));
    // A ring that makes no sense is taken out of service, and stopping still works.
    driver.ring(0).set_avail_index(40_000);
    driver.kick(0);
    while !driver.interrupt(0).is_broken() {
        std::thread::yield_now();
    }
    assert!(driver.stop()[0].is_some());
}

#[test]
fn buffers_of_any_shape_are_one_request() {
    let fixture = Fixture::new();
    let mut driver = driver(fixture.disk(IoMethod::Auto), 1);
    let write = [header(spec::T_OUT, 1), (0..=255).cycle().take(1024).collect()].concat();
    let pieces: Vec<&[u8]> = write.chunks(97).collect();
    assert_eq!(driver.request(0, &pieces, &[1]).data, [0]);
    // The status is the last byte of a buffer that also takes data.
    let read = header(spec::T_IN, 1);
    let reply = driver.request(0, &[&read[..7], &read[7..]], &[1, 510, 514]);
    assert_eq!(reply.written_bytes, 1025);
    assert!(reply.data[..1024] == write[16..] && reply.data[1024] == 0);
    let (arena, ring) = (&mut driver.arena, header(spec::T_IN, 2));
    let (readable, writable) = ([arena.put(&ring)], [arena.room(512), arena.room(1)]);
    let mut table = Arena::new(4096);
    std::mem::swap(&mut table, arena);
    driver.ring(0).add_indirect(&mut table, &readable, &writable);
    std::mem::swap(&mut table, &mut driver.arena);
    driver.kick(0);
    assert_eq!(driver.wait(0).written_bytes, 513);
    assert!(driver.arena.get(writable[0]) == write[528..]);
}

#[test]
fn queues_work_side_by_side() {
    let fixture = Fixture::new();
    let mut driver = driver(fixture.disk(IoMethod::Auto), 4);
    assert_eq!(driver.device().features() & spec::F_MQ, spec::F_MQ);
    for round in 0..16u64 {
        for queue in 0..4u16 {
            let sector = u64::from(queue) * 512 + round * 8;
            let write = [header(spec::T_OUT, sector), vec![queue as u8 + 1; 4096]].concat();
            let (readable, writable) = ([driver.arena.put(&write)], [driver.arena.room(1)]);
            driver.submit(queue, &readable, &writable);
        }
    }
    for queue in 0..4 {
        (0..16).for_each(|_| assert_eq!(driver.wait(queue).written_bytes, 1));
    }
    let contents = fixture.contents();
    for queue in 0..4usize {
        assert!(contents[queue << 18..][..16 * 4096].iter().all(|byte| usize::from(*byte) == queue + 1));
    }
}

#[test]
fn random_requests_agree_with_an_array() {
    for method in [IoMethod::Auto, IoMethod::Threads] {
        let fixture = Fixture::new();
        let mut driver = driver(fixture.disk(method), 1);
        let mut model = vec![0u8; SIZE_BYTES];
        let mut random = Random(88_172_645_463_325_252);
        for step in 0..300u64 {
            let sectors = random.below(16) + 1;
            let sector = random.below(SIZE_BYTES as u64 / 512 - sectors);
            let place = sector as usize * 512..(sector + sectors) as usize * 512;
            match random.below(8) {
                0..3 => {
                    model[place.clone()].fill(step as u8 | 1);
                    let reply = request(&mut driver, spec::T_OUT, sector, &model[place], 0);
                    assert_eq!(reply, (0, 1, vec![]));
                }
                3 => {
                    model[place].fill(0);
                    let range = range(sector, sectors as u32, step as u32 & 1);
                    assert_eq!(request(&mut driver, spec::T_WRITE_ZEROES, 0, &range, 0).0, 0);
                }
                4 => assert_eq!(request(&mut driver, spec::T_FLUSH, 0, &[], 0).0, 0),
                5 => driver_restart(&mut driver),
                _ => {
                    let (status, _, data) =
                        request(&mut driver, spec::T_IN, sector, &[], sectors as u32 * 512);
                    assert!(status == 0 && data == model[place], "{method:?} step {step}");
                }
            }
        }
        assert!(fixture.contents() == model);
    }
}

fn driver_restart(driver: &mut DirectDriver) {
    let states = driver.stop();
    driver.resume(&states);
}

#[test]
fn stopping_finishes_what_is_in_flight() {
    for method in [IoMethod::Auto, IoMethod::Threads] {
        let fixture = Fixture::new();
        let mut driver = driver(fixture.disk(method), 1);
        for at in 0..64u64 {
            let write = [header(spec::T_OUT, at * 8), vec![at as u8 + 1; 4096]].concat();
            let (readable, writable) = ([driver.arena.put(&write)], [driver.arena.room(1)]);
            driver.submit(0, &readable, &writable);
        }
        let states = driver.stop();
        let state = states[0].unwrap();
        assert_eq!(state.next_avail, state.next_used, "nothing is left in flight");
        assert_eq!(driver.ring(0).used_index(), state.next_used);
        driver.resume(&states);
        (0..64).for_each(|_| assert_eq!(driver.wait(0).written_bytes, 1));
        assert!((0..64).all(|at| fixture.contents()[at * 4096..][..4096] == [at as u8 + 1; 4096]));
    }
}

/// xorshift64: the same sequence each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
