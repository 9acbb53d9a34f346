//! Raw disks over both ways of doing I/O.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use guest_memory::IoBuffers;
use host_sys::poll::{Poller, Token};
use tempfile::TempDir;

use super::*;
use crate::host_file::Kind;
use crate::{DiskCompletion, DiskOperation, DiskRequest};

const SIZE_BYTES: u64 = 1 << 20;

/// A folder with a disk image of [`SIZE_BYTES`] in it.
struct Fixture {
    _folder: TempDir,
    path: PathBuf,
}

impl Fixture {
    fn new() -> Fixture {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("disk.img");
        File::create(&path).unwrap().set_len(SIZE_BYTES).unwrap();
        Fixture { _folder: folder, path }
    }

    fn open(&self, method: IoMethod) -> RawDisk {
        RawDisk::open(&self.path, false, RawContents::Any).unwrap().with_method(method)
    }
}

/// The ways of doing I/O that this host allows.
fn methods() -> Vec<IoMethod> {
    let ring = host_sys::ring::Ring::<()>::new(1)
        .inspect_err(|error| println!("SKIPPED: io_uring is refused here: {error}"));
    if ring.is_ok() { vec![IoMethod::Ring, IoMethod::Threads] } else { vec![IoMethod::Threads] }
}

fn request(id: u64, operation: DiskOperation, offset_bytes: u64, length_bytes: u64) -> DiskRequest {
    DiskRequest { operation, offset_bytes, length_bytes, ..DiskRequest::flush(id) }
}

fn write(id: u64, offset_bytes: u64, data: &[u8]) -> DiskRequest {
    let buffers = IoBuffers::from_vec(data.to_vec());
    DiskRequest { buffers, ..request(id, DiskOperation::Write, offset_bytes, data.len() as u64) }
}

/// Serves one request to its end.
fn perform(queue: &mut dyn DiskQueue, request: DiskRequest) -> io::Result<()> {
    let mut done = Vec::new();
    queue.submit(request);
    queue.drain(&mut done);
    assert_eq!(done.len(), 1);
    done.remove(0).result
}

fn read(queue: &mut dyn DiskQueue, offset_bytes: u64, len: usize) -> io::Result<Vec<u8>> {
    // Two views of one buffer: one goes with the request, one stays here.
    let memory = test_memory();
    let pieces = [(guest_memory::GuestAddress(0), len as u32)];
    let buffers = memory.io_buffers(pieces, true).unwrap();
    let read = request(1, DiskOperation::Read, offset_bytes, len as u64);
    perform(queue, DiskRequest { buffers, ..read })?;
    Ok(memory.io_buffers(pieces, false).unwrap().to_vec(len))
}

fn test_memory() -> guest_memory::GuestMemory {
    let range = guest_memory::GpaRange { start: guest_memory::GuestAddress(0), size_bytes: SIZE_BYTES };
    guest_memory::GuestMemory::allocate(&[range], guest_memory::Policy::default()).unwrap()
}

#[test]
fn what_is_written_is_read_back_and_in_the_file() {
    for method in methods() {
        let fixture = Fixture::new();
        let disk = fixture.open(method);
        assert_eq!((disk.size_bytes(), disk.block_size_bytes()), (SIZE_BYTES, 512));
        let mut queue = disk.open_queue().unwrap();
        perform(&mut *queue, DiskRequest { durable: true, ..write(1, 4096, b"tower of beams") }).unwrap();
        perform(&mut *queue, DiskRequest::flush(2)).unwrap();
        assert_eq!(read(&mut *queue, 4095, 16).unwrap(), b"\0tower of beams\0", "{method:?}");
        assert_eq!(&fs::read(&fixture.path).unwrap()[4096..4110], b"tower of beams");
    }
}

#[test]
fn zeroes_and_discards_free_room_and_keep_the_size() {
    for method in methods() {
        let fixture = Fixture::new();
        let disk = fixture.open(method);
        let mut queue = disk.open_queue().unwrap();
        perform(&mut *queue, write(1, 0, &[7; SIZE_BYTES as usize])).unwrap();
        let full = fs::metadata(&fixture.path).unwrap().blocks();
        let zeroes = |may_unmap| DiskOperation::WriteZeroes { may_unmap };
        for (operation, at) in [(zeroes(false), 0), (zeroes(true), 65536), (DiskOperation::Discard, 131072)] {
            perform(&mut *queue, DiskRequest { durable: true, ..request(2, operation, at, 65024) }).unwrap();
            assert_eq!(read(&mut *queue, at, 65024).unwrap(), [0; 65024], "{method:?} {operation:?}");
            assert_eq!(read(&mut *queue, at + 65024, 1).unwrap(), [7]);
        }
        let metadata = fs::metadata(&fixture.path).unwrap();
        assert_eq!(metadata.len(), SIZE_BYTES);
        assert!(metadata.blocks() < full, "room was given back");
        perform(&mut *queue, request(3, DiskOperation::Discard, 512, 0)).unwrap();
    }
}

#[test]
fn zeros_are_written_where_nothing_better_is_there() {
    let fixture = Fixture::new();
    fs::write(&fixture.path, vec![7; SIZE_BYTES as usize]).unwrap();
    let disk = fixture.open(IoMethod::Threads);
    disk.storage.write_zero_chunks(512, 600_000).unwrap();
    let mut expected = vec![7; SIZE_BYTES as usize];
    expected[512..600_512].fill(0);
    assert!(fs::read(&fixture.path).unwrap() == expected);
}

#[test]
fn requests_outside_the_disk_never_reach_the_file() {
    for method in methods() {
        let fixture = Fixture::new();
        let mut queue = fixture.open(method).open_queue().unwrap();
        let beyond = perform(&mut *queue, write(1, SIZE_BYTES - 1, b"ab")).unwrap_err();
        assert_eq!(beyond.kind(), io::ErrorKind::InvalidInput);
        perform(&mut *queue, request(2, DiskOperation::Discard, u64::MAX, 512)).unwrap_err();
        perform(&mut *queue, request(3, DiskOperation::Read, 0, 512)).unwrap_err();
        assert_eq!(fs::metadata(&fixture.path).unwrap().len(), SIZE_BYTES);
    }
}

#[test]
fn a_file_that_shrank_is_an_error_not_a_short_success() {
    for method in methods() {
        let fixture = Fixture::new();
        let mut queue = fixture.open(method).open_queue().unwrap();
        File::options().write(true).open(&fixture.path).unwrap().set_len(1000).unwrap();
        let error = read(&mut *queue, 512, 1024).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{method:?}");
    }
}

#[test]
fn many_and_empty_pieces_are_one_transfer() {
    for method in methods() {
        let fixture = Fixture::new();
        let mut queue = fixture.open(method).open_queue().unwrap();
        let memory = test_memory();
        let gpa = guest_memory::GuestAddress;
        guest_memory::Bytes::write_slice(&**memory.slots(), &[9; 8192], gpa(0)).unwrap();
        let empty = std::iter::repeat_n((gpa(0), 0), 2000);
        let pieces = empty.chain((0..4096).map(|index| (gpa(index * 2), 2)));
        let buffers = memory.io_buffers(pieces, false).unwrap();
        let scattered = request(1, DiskOperation::Write, 512, 8192);
        perform(&mut *queue, DiskRequest { buffers, ..scattered }).unwrap();
        assert!(fs::read(&fixture.path).unwrap()[512..512 + 8192] == [9; 8192], "{method:?}");
    }
}

#[test]
fn completions_are_announced_by_the_event() {
    for method in methods() {
        let fixture = Fixture::new();
        let mut queue = fixture.open(method).open_queue().unwrap();
        let poller = Poller::new().unwrap();
        poller.watch(queue.completion_event(), Token(1)).unwrap();
        let refused = write(3, SIZE_BYTES, b"x");
        let zeroes = request(4, DiskOperation::WriteZeroes { may_unmap: false }, 0, 4096);
        for each in [write(1, 0, b"x"), DiskRequest::flush(2), refused, zeroes] {
            queue.submit(each);
        }
        queue.commit();
        let mut done: Vec<DiskCompletion> = Vec::new();
        while done.len() < 4 {
            // Finished operations interrupt the wait, too: then it yields nothing.
            if !poller.wait(None).is_empty() {
                queue.completions(&mut done);
            }
        }
        let failed: Vec<u64> = done.iter().filter(|one| one.result.is_err()).map(|one| one.id).collect();
        assert_eq!(failed, [3]);
        queue.completions(&mut done);
        assert_eq!(poller.wait(Some(Duration::ZERO)), []);
        assert_eq!(done.len(), 4);
    }
}

#[test]
fn more_requests_than_the_ring_holds_are_all_served() {
    for method in methods() {
        let fixture = Fixture::new();
        let mut queue = fixture.open(method).open_queue().unwrap();
        for id in 0..512 {
            queue.submit(DiskRequest { durable: id % 64 == 0, ..write(id, id * 512, &[id as u8; 512]) });
        }
        let mut done = Vec::new();
        queue.drain(&mut done);
        let mut ids: Vec<u64> = done.iter().map(|completion| completion.id).collect();
        ids.sort_unstable();
        assert!(ids.iter().copied().eq(0..512) && done.iter().all(|completion| completion.result.is_ok()));
        let file = fs::read(&fixture.path).unwrap();
        assert!((0..512).all(|id| file[id * 512..(id + 1) * 512] == [id as u8; 512]), "{method:?}");
    }
}

#[test]
fn a_dropped_queue_has_finished_its_writes() {
    for method in methods() {
        let fixture = Fixture::new();
        let mut queue = fixture.open(method).open_queue().unwrap();
        for id in 0..64 {
            queue.submit(write(id, id * 4096, &[1; 4096]));
        }
        queue.commit();
        drop(queue);
        assert!(fs::read(&fixture.path).unwrap()[..64 * 4096].iter().all(|byte| *byte == 1));
    }
}

#[test]
fn read_only_disks_refuse_writes() {
    for method in methods() {
        let fixture = Fixture::new();
        let disk = RawDisk::open(&fixture.path, true, RawContents::Any).unwrap().with_method(method);
        assert!(disk.is_read_only() && !disk.can_discard() && !disk.can_write_zeroes());
        let mut queue = disk.open_queue().unwrap();
        perform(&mut *queue, write(1, 0, b"x")).unwrap_err();
        perform(&mut *queue, request(1, DiskOperation::WriteZeroes { may_unmap: true }, 0, 512)).unwrap_err();
        assert_eq!(read(&mut *queue, 0, 1).unwrap(), [0]);
    }
}

#[test]
fn one_writer_or_many_readers() {
    let fixture = Fixture::new();
    let open = |read_only| RawDisk::open(&fixture.path, read_only, RawContents::Any);
    let reader = open(true).unwrap();
    let second_reader = open(true).unwrap();
    let refused = open(false).unwrap_err();
    assert!(refused.to_string().contains("disk.img is in use by another machine or process; it can"));
    drop((reader, second_reader));
    let writer = open(false).unwrap();
    assert!(matches!(open(false), Err(OpenError::InUse { .. })));
    assert!(
        open(true)
            .unwrap_err()
            .to_string()
            .ends_with("in use by another machine or process that writes to it")
    );
    // The lock lasts as long as anything can still write, a queue without its disk included.
    let queue = writer.open_queue().unwrap();
    drop(writer);
    assert!(matches!(open(false), Err(OpenError::InUse { .. })));
    drop(queue);
    open(false).unwrap();
}

#[test]
fn each_bad_file_has_its_own_line() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("folder")).unwrap();
    fs::write(path("empty"), b"").unwrap();
    fs::write(path("odd"), vec![0; 1000]).unwrap();
    let pipe = rustix::fs::mknodat(
        rustix::fs::CWD,
        path("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    );
    pipe.unwrap();
    let cases = [
        (path("missing"), "does not exist"),
        (path("folder"), "is a directory, not a disk image or block device"),
        (path("folder/x/y"), "does not exist"),
        (path("odd/x"), "cannot open disk"),
        (path("empty"), "is empty: give it a size first"),
        (path("odd"), "is 1000 bytes long, not a multiple of 512: is it a raw image? `truncate -s %512"),
        (path("pipe"), "it is a pipe, and a disk image or block device is needed"),
        (PathBuf::from("/dev/null"), "it is a character device, and a disk image or block device is needed"),
        // Readable but writable by nobody, not even by root.
        (PathBuf::from("/sys/devices/system/cpu/online"), "cannot be written: attach it as readonly"),
    ];
    for (path, expected) in cases {
        let line = messages::in_words(&RawDisk::open(&path, false, RawContents::Any).unwrap_err());
        assert!(line.contains(expected), "{line}");
        assert!(line.contains(path.to_str().unwrap()) && !line.contains('\n'), "{line}");
    }
}

/// A loop device, detached when dropped.
struct LoopDevice(PathBuf);

impl LoopDevice {
    fn attach(image: &std::path::Path) -> Option<LoopDevice> {
        let output = Command::new("losetup").args(["--find", "--show"]).arg(image).output().ok()?;
        let name = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| LoopDevice(PathBuf::from(name.trim())))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

#[test]
fn block_devices_are_disks_too() {
    let fixture = Fixture::new();
    let Some(device) = LoopDevice::attach(&fixture.path) else {
        println!("SKIPPED: no loop device can be set up here");
        return;
    };
    for method in methods() {
        let disk = RawDisk::open(&device.0, false, RawContents::Any).unwrap().with_method(method);
        assert_eq!((disk.size_bytes(), disk.storage.kind), (SIZE_BYTES, Kind::BlockDevice));
        assert!(matches!(RawDisk::open(&device.0, false, RawContents::Any), Err(OpenError::InUse { .. })));
        let mut queue = disk.open_queue().unwrap();
        perform(&mut *queue, write(1, 0, &[7; 65536])).unwrap();
        perform(&mut *queue, request(2, DiskOperation::Discard, 1536, 4096)).unwrap();
        perform(&mut *queue, request(3, DiskOperation::WriteZeroes { may_unmap: false }, 8192, 512)).unwrap();
        perform(&mut *queue, request(4, DiskOperation::WriteZeroes { may_unmap: true }, 12288, 4096))
            .unwrap();
        assert_eq!(read(&mut *queue, 8191, 514).unwrap(), [&[7][..], &[0; 512], &[7]].concat());
        assert_eq!(read(&mut *queue, 12288, 4096).unwrap(), [0; 4096]);
        perform(&mut *queue, DiskRequest::flush(5)).unwrap();
    }
}

/// Growing a device is the host's business; that it has grown is ours (cloud-hypervisor/cloud-hypervisor 7923).
#[test]
fn a_block_device_is_followed_to_the_length_that_it_has() {
    let fixture = Fixture::new();
    let Some(device) = LoopDevice::attach(&fixture.path) else {
        println!("SKIPPED: no loop device can be set up here");
        return;
    };
    let disk = RawDisk::open(&device.0, false, RawContents::Any).unwrap();
    let mut queue = disk.open_queue().unwrap();
    let error = messages::in_words(&disk.grow(2 * SIZE_BYTES).unwrap_err());
    assert!(error.contains(&format!("is a block device of {SIZE_BYTES} bytes: enlarge it")), "{error}");
    fs::File::options().write(true).open(&fixture.path).unwrap().set_len(2 * SIZE_BYTES).unwrap();
    let grown = Command::new("losetup").arg("--set-capacity").arg(&device.0).status().unwrap();
    assert!(grown.success());
    assert!(
        perform(&mut *queue, write(1, 2 * SIZE_BYTES - 4096, &[7; 4096])).is_err(),
        "not before it is said"
    );
    assert!(disk.grow(3 * SIZE_BYTES).is_err());
    disk.grow(2 * SIZE_BYTES).unwrap();
    assert_eq!(disk.size_bytes(), 2 * SIZE_BYTES);
    perform(&mut *queue, write(2, 2 * SIZE_BYTES - 4096, &[7; 4096])).unwrap();
    assert_eq!(read(&mut *queue, 2 * SIZE_BYTES - 4096, 4096).unwrap(), [7; 4096]);
}

#[test]
fn random_requests_agree_with_an_array() {
    for method in methods() {
        let fixture = Fixture::new();
        let disk = fixture.open(method);
        let mut queue = disk.open_queue().unwrap();
        let mut model = vec![0u8; SIZE_BYTES as usize];
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for round in 0..60u64 {
            // Each request of a round has a stretch of its own: their order does not matter.
            for lane in 0..8u64 {
                let (lane_start, lane_len) = (lane * (SIZE_BYTES / 8), SIZE_BYTES / 8);
                let offset = lane_start + random.below(lane_len / 512) * 512;
                let length = (random.below(64) + 1).min((lane_start + lane_len - offset) / 512) * 512;
                let range = offset as usize..(offset + length) as usize;
                let id = round * 8 + lane;
                match random.below(4) {
                    0 | 1 => {
                        model[range.clone()].fill(id as u8 | 1);
                        queue.submit(write(id, offset, &model[range]));
                    }
                    2 => {
                        model[range].fill(0);
                        let may_unmap = random.below(2) == 0;
                        queue.submit(request(id, DiskOperation::WriteZeroes { may_unmap }, offset, length));
                    }
                    _ => queue.submit(DiskRequest::flush(id)),
                }
            }
            let mut done = Vec::new();
            queue.drain(&mut done);
            assert!(done.len() == 8 && done.iter().all(|completion| completion.result.is_ok()), "{done:?}");
            let offset = random.below(SIZE_BYTES - 4096);
            let expected = &model[offset as usize..offset as usize + 4096];
            assert!(read(&mut *queue, offset, 4096).unwrap() == expected, "{method:?} round {round}");
        }
        assert!(fs::read(&fixture.path).unwrap() == model);
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

#[test]
fn each_way_of_writing_is_told_of() {
    for method in methods() {
        let fixture = Fixture::new();
        let disk = fixture.open(method);
        let mut queue = disk.open_queue().unwrap();
        let dirty = &disk.storage.dirty;
        perform(&mut *queue, write(1, 0, &[1; 512])).unwrap();
        assert_eq!(dirty.take(), [], "it is off");
        dirty.start();
        let granule = crate::GRANULE_BYTES;
        for (at, operation) in [
            DiskOperation::Write,
            DiskOperation::Discard,
            DiskOperation::WriteZeroes { may_unmap: true },
            DiskOperation::WriteZeroes { may_unmap: false },
        ]
        .into_iter()
        .enumerate()
        {
            let start = 2 * at as u64 * granule;
            let request = match operation {
                DiskOperation::Write => write(1, start, &[1; 512]),
                _ => request(1, operation, start, 512),
            };
            perform(&mut *queue, request).unwrap();
            assert_eq!(dirty.take(), vec![start..start + granule], "{operation:?} by {method:?}");
        }
        perform(&mut *queue, DiskRequest::flush(2)).unwrap();
        assert_eq!(dirty.take(), []);
    }
}
