//! Target `virtio_block`: the parser of requests on chains made by hand, and the device on rings in RAM, over
//! a disk in memory or a raw file served by io_uring or by threads.
//!
//! Always: what the parser lets through lies on the disk, in whole sectors, with buffers as long as the range.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use disk::{Disk, DiskOperation, IoMethod, RawContents, RawDisk};
use guest_memory::GuestAddress;
use virtio_block::{Limits, Part, Request, VirtioBlock, parse};
use virtio_core::{Chain, VIRTIO_F_EVENT_IDX, VIRTIO_F_INDIRECT_DESC, VIRTIO_F_VERSION_1};

use crate::hostile_driver::{self, HostileDriver};
use crate::hostile_ring::{self, SeedPiece, note_chain};
use crate::memory_disk::{self, MemoryDisk};
use crate::{Notation, Script, Seed, ram};

const PARSE: u8 = hostile_driver::COUNT;
const OPERATIONS: u8 = PARSE + 1;

/// `VIRTIO_BLK_F_FLUSH` and `VIRTIO_BLK_F_CONFIG_WCE` (5.2.3), which change how writes are done.
const CACHE_FEATURES: u64 = 1 << 9 | 1 << 11;

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let flags = script.u8();
    let device = VirtioBlock::new(disk(flags), "fuzz", u16::from(flags >> 2 & 1) + 1).expect("a good device");
    let event_index = if flags & 8 != 0 { VIRTIO_F_EVENT_IDX } else { 0 };
    let cache = if flags & 0x10 != 0 { CACHE_FEATURES } else { 0 };
    let features = VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | event_index | cache;
    let mut driver = HostileDriver::new(Box::new(device), features);
    while let Some(operation) = script.operation(OPERATIONS) {
        match operation {
            PARSE => parse_anything(&driver, &mut script),
            _ => driver.act(operation, &mut script),
        }
    }
}

fn disk(flags: u8) -> Arc<dyn Disk> {
    match flags & 3 {
        0 => Arc::new(MemoryDisk::new(false)),
        1 => Arc::new(MemoryDisk::new(true)),
        2 => raw_disk(IoMethod::Auto),
        _ => raw_disk(IoMethod::Threads),
    }
}

/// A raw disk of zeros in a file without a name.
fn raw_disk(method: IoMethod) -> Arc<dyn Disk> {
    static FILE: OnceLock<File> = OnceLock::new();
    let size_bytes = memory_disk::SIZE_BYTES as u64;
    let file = FILE.get_or_init(|| host_sys::memory::memfd("fuzz-disk", size_bytes).expect("a small memfd"));
    file.set_len(0).and_then(|()| file.set_len(size_bytes)).expect("a memfd can be cut");
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    Arc::new(
        RawDisk::open(&path, false, RawContents::Any).expect("nobody else has it open").with_method(method),
    )
}

/// Parses a chain of any pieces against any limits.
fn parse_anything(driver: &HostileDriver, script: &mut Script<'_>) {
    let flags = script.u8();
    let limits = Limits {
        block_bytes: 512,
        size_bytes: if flags & 8 != 0 { script.u64() } else { memory_disk::SIZE_BYTES as u64 },
        read_only: flags & 1 != 0,
        can_discard: flags & 2 != 0,
        can_write_zeroes: flags & 4 != 0,
    };
    let header_at = script.gpa();
    ram::store(driver.memory(), header_at.0, script.bytes(16));
    let readable = [vec![(header_at, 16)], pieces(script)].concat();
    let chain = Chain::from_pieces(script.u16(), readable, pieces(script));
    let Ok(Request::Disk(parts)) = parse(&chain, driver.memory(), &limits) else { return };
    for Part { operation, offset_bytes, length_bytes, buffers } in parts {
        let end = offset_bytes.checked_add(length_bytes).expect("ranges do not wrap");
        assert!(end <= limits.size_bytes, "beyond the end of the disk");
        assert!(offset_bytes.is_multiple_of(512) && length_bytes.is_multiple_of(512), "whole sectors");
        assert!(!(limits.read_only && operation == DiskOperation::Write), "written though read-only");
        let moves = matches!(operation, DiskOperation::Read | DiskOperation::Write);
        assert_eq!(buffers.len_bytes() as u64, if moves { length_bytes } else { 0 });
    }
}

fn pieces(script: &mut Script<'_>) -> Vec<(GuestAddress, u32)> {
    let count = script.u8();
    (0..count % 8)
        .map(|_| {
            let address = script.gpa();
            let len = if count & 0x80 != 0 { script.u32() } else { script.u16().into() };
            (address, len)
        })
        .collect()
}

/// One request of each kind, on each kind of disk.
pub fn seeds() -> Vec<Seed> {
    let header = |kind: u32, sector: u64| [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat();
    let chain = |script: Notation, pieces: &[SeedPiece<'_>]| {
        note_chain(script.u8(hostile_ring::CHAIN).u8(0), None, pieces)
    };
    let status = SeedPiece::Write(0x7000, 1);
    let stop = |script: Notation| script.u8(hostile_driver::STOP).u8(0);
    let range = [&8u64.to_le_bytes()[..], &4u32.to_le_bytes(), &0u32.to_le_bytes()].concat();
    let all = |flags: u8| {
        let script = Notation::new().u8(flags);
        let script = chain(
            script,
            &[SeedPiece::Read(0x4000, &header(1, 2)), SeedPiece::Read(0x5000, &[7; 512]), status],
        );
        let script = stop(script);
        let script =
            chain(script, &[SeedPiece::Read(0x4000, &header(0, 2)), SeedPiece::Write(0x5000, 512), status]);
        let script = chain(script, &[SeedPiece::Read(0x4100, &header(4, 0)), SeedPiece::Write(0x7001, 1)]);
        let script = stop(script);
        let script =
            chain(script, &[SeedPiece::Read(0x4200, &header(8, 0)), SeedPiece::Write(0x6000, 20), status]);
        let script = chain(
            script,
            &[SeedPiece::Read(0x4300, &header(11, 0)), SeedPiece::Read(0x4400, &range), status],
        );
        let script = chain(
            script,
            &[SeedPiece::Read(0x4500, &header(13, 0)), SeedPiece::Read(0x4600, &range), status],
        );
        let script = stop(script).u8(hostile_driver::CONFIG_WRITE).u16(32).u8(0).u32(0).u32(0);
        script
            .u8(hostile_driver::CONFIG_READ)
            .u16(0)
            .u8(7)
            .u8(hostile_driver::RESTORE)
            .u8(0)
            .u8(hostile_driver::RESET)
    };
    let started = |flags: u8| {
        let script = all(flags).u8(hostile_driver::START).u8(0);
        let read = [SeedPiece::Read(0x4000, &header(0, 0)), SeedPiece::Write(0x5000, 1024), status];
        let script = chain(script, &read).u8(hostile_driver::KICK).u8(0).u8(hostile_driver::WAIT).u8(0);
        chain(script, &read).u8(hostile_driver::KICK).u8(0).u8(hostile_driver::WAIT).u8(0)
    };
    let parsed = Notation::new().u8(0).u8(PARSE).u8(6).gpa(0x4000).bytes(&header(0, 3));
    let parsed = parsed.u8(0).u16(0).u8(2).gpa(0x5000).u16(1024).gpa(0x7000).u16(1);
    vec![
        ("memory", all(0x18).finish()),
        ("read_only", all(0x01).finish()),
        ("ring", all(0x12).finish()),
        ("threads", all(0x0b).finish()),
        ("started", started(0x1c).finish()),
        ("started_ring", started(0x16).finish()),
        ("started_threads", started(0x07).finish()),
        ("parsed", parsed.finish()),
    ]
}
