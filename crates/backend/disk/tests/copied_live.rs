//! A disk's file is copied while its guest writes, discards and zeroes: what the bitmap tells of makes the copy right.

#![allow(clippy::unwrap_used, reason = "all of this file is test code")]

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use disk::{
    ActiveDisk, CreateOptions, Disk, DiskFormat, DiskOperation, DiskOptions, DiskRequest, PreparedDisk,
    RawContents, create_qcow2,
};
use guest_memory::IoBuffers;
use host_sys::file_copy::{copy_file, copy_ranges};

const SIZE_BYTES: u64 = 16 << 20;

fn open(path: &Path, format: DiskFormat) -> ActiveDisk {
    match format {
        DiskFormat::Raw => File::create(path).unwrap().set_len(SIZE_BYTES).unwrap(),
        DiskFormat::Qcow2 => create_qcow2(path, &CreateOptions::new(SIZE_BYTES)).unwrap(),
    }
    let options = DiskOptions { format, read_only: false, contents: RawContents::Any, block_bytes: None };
    PreparedDisk::open(path, options).unwrap().activate().unwrap()
}

/// Writes until it is told to end; then all of it is done.
fn write_on(disk: &dyn Disk, seed: u64, ends: &AtomicBool) {
    let mut queue = disk.open_queue().unwrap();
    let (mut random, mut done) = (seed, Vec::new());
    let mut below = |limit: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % limit
    };
    while !ends.load(Ordering::SeqCst) {
        for id in 0..8 {
            let offset_bytes = below(SIZE_BYTES / 512) * 512;
            let length_bytes = (below(256) + 1) * 512;
            let length_bytes = length_bytes.min(SIZE_BYTES - offset_bytes);
            let operation = match below(8) {
                0 => DiskOperation::Discard,
                1 => DiskOperation::WriteZeroes { may_unmap: true },
                2 => DiskOperation::WriteZeroes { may_unmap: false },
                _ => DiskOperation::Write,
            };
            let byte = below(255) as u8 + 1;
            let buffers = match operation {
                DiskOperation::Write => IoBuffers::from_vec(vec![byte; length_bytes as usize]),
                _ => IoBuffers::empty(),
            };
            let durable = false;
            queue.submit(DiskRequest { id, operation, offset_bytes, length_bytes, buffers, durable });
        }
        queue.commit();
        queue.completions(&mut done);
    }
    queue.drain(&mut done);
    assert!(done.into_iter().all(|completion| completion.result.is_ok()));
}

fn copied_live(format: DiskFormat) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let active = open(&path, format);
    let (from, to) = (File::open(&path).unwrap(), folder.path().join("copy"));
    let to_file = File::options().read(true).write(true).create_new(true).open(&to).unwrap();
    let ends = AtomicBool::new(false);
    let dirty = Arc::clone(active.dirty_bitmap());
    std::thread::scope(|scope| {
        for seed in [1, 2] {
            let (disk, ends) = (active.disk(), &ends);
            scope.spawn(move || write_on(&*disk, seed, ends));
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
        dirty.start();
        copy_file(&from, &to_file).unwrap();
        let mut copied = 0;
        for _ in 0..20 {
            let ranges = dirty.take();
            copied += ranges.len();
            copy_ranges(&from, &to_file, ranges).unwrap();
        }
        assert!(copied > 0, "nobody wrote meanwhile: this has shown nothing");
        ends.store(true, Ordering::SeqCst);
    });
    if format == DiskFormat::Qcow2 {
        let mut queue = active.disk().open_queue().unwrap();
        queue.submit(DiskRequest::flush(0));
        queue.drain(&mut Vec::new());
    }
    copy_ranges(&from, &to_file, dirty.take()).unwrap();
    dirty.stop();
    assert!(fs::read(&path).unwrap() == fs::read(&to).unwrap(), "the copy is another one");
}

#[test]
fn a_raw_disk() {
    copied_live(DiskFormat::Raw);
}

#[test]
fn a_qcow2_disk() {
    copied_live(DiskFormat::Qcow2);
}
