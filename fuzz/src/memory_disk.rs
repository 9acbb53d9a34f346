//! A disk in memory that serves each request when it is submitted, and insists that it makes sense.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex};

use device_model::{EventFd, lock};
use disk::{Disk, DiskCompletion, DiskOperation, DiskQueue, DiskRequest, SECTOR_SIZE};
use host_sys::poll::{event_fd, new_event};

/// Size in bytes.
pub const SIZE_BYTES: usize = 64 << 10;

/// See the module.
pub struct MemoryDisk {
    bytes: Arc<Mutex<Vec<u8>>>,
    read_only: bool,
}

impl MemoryDisk {
    /// A disk of zeros.
    pub fn new(read_only: bool) -> MemoryDisk {
        MemoryDisk { bytes: Arc::new(Mutex::new(vec![0; SIZE_BYTES])), read_only }
    }
}

impl Disk for MemoryDisk {
    fn size_bytes(&self) -> u64 {
        SIZE_BYTES as u64
    }

    fn block_size_bytes(&self) -> u32 {
        SECTOR_SIZE as u32
    }

    fn is_read_only(&self) -> bool {
        self.read_only
    }

    fn can_discard(&self) -> bool {
        !self.read_only
    }

    fn can_write_zeroes(&self) -> bool {
        !self.read_only
    }

    fn open_queue(&self) -> io::Result<Box<dyn DiskQueue>> {
        let (bytes, event) = (Arc::clone(&self.bytes), new_event()?);
        Ok(Box::new(MemoryQueue { bytes, read_only: self.read_only, event, done: Vec::new() }))
    }
}

struct MemoryQueue {
    bytes: Arc<Mutex<Vec<u8>>>,
    read_only: bool,
    event: EventFd,
    done: Vec<DiskCompletion>,
}

impl DiskQueue for MemoryQueue {
    fn submit(&mut self, request: DiskRequest) {
        request.check(SIZE_BYTES as u64).expect("the device checks requests");
        assert!(request.length_bytes.is_multiple_of(SECTOR_SIZE), "whole sectors");
        assert!(!(self.read_only && request.operation.is_write()), "a read-only disk is not written to");
        let start = request.offset_bytes as usize;
        let mut bytes = lock(&self.bytes);
        // Reads and writes may be longer than RAM, piece over piece, but not longer than the disk.
        let range = &mut bytes[start..start + request.length_bytes as usize];
        match request.operation {
            DiskOperation::Read => assert_eq!(request.buffers.fill_from(range), range.len()),
            DiskOperation::Write => range.copy_from_slice(&request.buffers.to_vec(usize::MAX)),
            DiskOperation::WriteZeroes { .. } => range.fill(0),
            DiskOperation::Flush | DiskOperation::Discard => {}
        }
        self.done.push(DiskCompletion { id: request.id, result: Ok(()) });
    }

    fn commit(&mut self) {
        if !self.done.is_empty() {
            self.event.write(1).expect("the counter is nowhere near its end");
        }
    }

    fn completion_event(&self) -> BorrowedFd<'_> {
        event_fd(&self.event)
    }

    fn completions(&mut self, out: &mut Vec<DiskCompletion>) {
        let _ = self.event.read();
        out.append(&mut self.done);
    }

    fn drain(&mut self, out: &mut Vec<DiskCompletion>) {
        self.completions(out);
    }
}
