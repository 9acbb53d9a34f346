//! Somebody who uses a disk through a queue and knows what has to be on it.

use std::sync::Arc;

use disk::{Disk, DiskOperation, DiskQueue, DiskRequest};
use guest_memory::IoBuffers;

/// See the module.
pub struct User {
    queue: Box<dyn DiskQueue>,
    disk: Arc<dyn Disk>,
    model: Vec<u8>,
    random: u64,
    next_id: u64,
}

impl User {
    pub fn new(disk: Arc<dyn Disk>, model: Vec<u8>, seed: u64) -> User {
        let queue = disk.open_queue().unwrap();
        User { queue, disk, model, random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, next_id: 0 }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % limit
    }

    /// Does a few things at once, to different parts of the disk, and then asserts what is on it there.
    pub fn step(&mut self) {
        let sectors = self.model.len() as u64 / 512;
        let quarter = sectors / 4;
        for part in 0..4 {
            let longest = [1, 20, 300][self.below(3) as usize];
            let first = part * quarter + self.below(quarter);
            let count = 1 + self.below(longest.min((part + 1) * quarter - first).max(1));
            let (offset_bytes, length) = (first * 512, (count * 512) as usize);
            match self.below(8) {
                0 => self.start_zeroes(offset_bytes, length as u64),
                1 => self.start_flush(),
                2 => self.read(offset_bytes, length),
                _ => {
                    let byte = self.below(255) as u8 + 1;
                    self.start_write(offset_bytes, vec![byte; length]);
                }
            }
        }
        self.wait();
        let at = self.below(sectors - 1) * 512;
        self.read(at, 1024);
    }

    pub fn write(&mut self, offset_bytes: u64, data: Vec<u8>) {
        self.start_write(offset_bytes, data);
        self.wait();
    }

    pub fn write_zeroes(&mut self, offset_bytes: u64, length_bytes: u64) {
        self.start_zeroes(offset_bytes, length_bytes);
        self.wait();
    }

    /// Takes notice that the disk has become longer: what has come is zeros.
    pub fn follow(&mut self) {
        let end_bytes = self.model.len();
        self.model.resize(self.disk.size_bytes() as usize, 0);
        self.read(
            end_bytes.saturating_sub(4096) as u64,
            (self.model.len() - end_bytes).min(1 << 20) + 4096.min(end_bytes),
        );
    }

    /// Leaves the disk closed, and says what is on it.
    pub fn leave(mut self) -> Vec<u8> {
        self.wait();
        std::mem::take(&mut self.model)
    }

    fn start_write(&mut self, offset_bytes: u64, data: Vec<u8>) {
        self.model[offset_bytes as usize..][..data.len()].copy_from_slice(&data);
        let length_bytes = data.len() as u64;
        self.start(DiskOperation::Write, offset_bytes, length_bytes, IoBuffers::from_vec(data));
    }

    fn start_zeroes(&mut self, offset_bytes: u64, length_bytes: u64) {
        self.model[offset_bytes as usize..][..length_bytes as usize].fill(0);
        let may_unmap = offset_bytes.is_multiple_of(1024);
        self.start(DiskOperation::WriteZeroes { may_unmap }, offset_bytes, length_bytes, IoBuffers::empty());
    }

    fn start_flush(&mut self) {
        self.start(DiskOperation::Flush, 0, 0, IoBuffers::empty());
    }

    fn read(&mut self, offset_bytes: u64, length: usize) {
        self.wait();
        let buffers = IoBuffers::from_vec(vec![0xee; length]);
        self.start(DiskOperation::Read, offset_bytes, length as u64, buffers.slice(0, length));
        self.wait();
        let expected = &self.model[offset_bytes as usize..][..length];
        assert!(buffers.to_vec(length) == expected, "{length} bytes at {offset_bytes}");
    }

    fn start(&mut self, operation: DiskOperation, offset_bytes: u64, length_bytes: u64, buffers: IoBuffers) {
        self.next_id += 1;
        let durable = self.next_id.is_multiple_of(13);
        self.queue.submit(DiskRequest {
            id: self.next_id,
            operation,
            offset_bytes,
            length_bytes,
            buffers,
            durable,
        });
    }

    fn wait(&mut self) {
        self.queue.commit();
        let mut done = Vec::new();
        self.queue.drain(&mut done);
        done.into_iter().for_each(|completion| completion.result.unwrap());
    }
}
