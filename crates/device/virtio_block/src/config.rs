//! What the driver reads about the device: features and configuration space (5.2.3, 5.2.4).

use disk::{Disk, SECTOR_SIZE};

use crate::spec;

/// Descriptors of each queue.
pub(crate) const QUEUE_SIZE: u16 = 256;
/// Data segments of a request: a full ring without header and status.
const SEG_MAX: u32 = QUEUE_SIZE as u32 - 2;
/// Longest range to discard: 2 GiB. Costs the host little at any length.
pub(crate) const MAX_DISCARD_SECTORS: u32 = 4 << 20;
/// Most ranges of one discard.
pub(crate) const MAX_DISCARD_RANGES: usize = 16;
/// Longest range to zero: 64 MiB. The host may have to write all of it.
pub(crate) const MAX_WRITE_ZEROES_SECTORS: u32 = 128 << 10;
/// Most ranges of one write-zeroes.
pub(crate) const MAX_WRITE_ZEROES_RANGES: usize = 1;

/// What a device offers of what its disk can do besides reading and writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Forget what blocks hold.
    pub discard: bool,
    /// Zero blocks.
    pub write_zeroes: bool,
}

impl Offer {
    /// All that `disk` can do.
    pub fn of(disk: &dyn Disk) -> Offer {
        Offer { discard: disk.can_discard(), write_zeroes: disk.can_write_zeroes() }
    }
}

/// The features that a device with this disk and so many queues offers.
pub(crate) fn features(disk: &dyn Disk, offer: Offer, queues: u16) -> u64 {
    let mut features = spec::F_SEG_MAX | spec::F_BLK_SIZE | spec::F_TOPOLOGY;
    features |= if disk.is_read_only() { spec::F_RO } else { spec::F_FLUSH | spec::F_CONFIG_WCE };
    if queues > 1 {
        features |= spec::F_MQ;
    }
    if offer.discard {
        features |= spec::F_DISCARD;
    }
    if offer.write_zeroes {
        features |= spec::F_WRITE_ZEROES;
    }
    features
}

/// The configuration space of a disk of which the driver knows so many bytes. Fields of features that are not offered are zero.
pub(crate) fn config_space(
    disk: &dyn Disk,
    capacity_bytes: u64,
    offer: Offer,
    queues: u16,
    writeback: bool,
) -> [u8; spec::CONFIG_SIZE] {
    let mut space = [0; spec::CONFIG_SIZE];
    let mut put = |offset: usize, value: &[u8]| space[offset..offset + value.len()].copy_from_slice(value);
    put(spec::CONFIG_CAPACITY, &(capacity_bytes / SECTOR_SIZE).to_le_bytes());
    put(spec::CONFIG_SEG_MAX, &SEG_MAX.to_le_bytes());
    put(spec::CONFIG_BLK_SIZE, &disk.block_size_bytes().to_le_bytes());
    // Nothing is aligned oddly, and no length beyond a physical block is better than another: the other fields of
    // the topology are zero.
    let physical_blocks = disk.physical_block_size_bytes() / disk.block_size_bytes();
    put(spec::CONFIG_PHYSICAL_BLOCK_EXP, &[physical_blocks.max(1).ilog2() as u8]);
    put(spec::CONFIG_MIN_IO_SIZE, &(physical_blocks.max(1) as u16).to_le_bytes());
    if !disk.is_read_only() {
        put(spec::CONFIG_WRITEBACK, &[u8::from(writeback)]);
    }
    put(spec::CONFIG_NUM_QUEUES, &queues.to_le_bytes());
    if offer.discard {
        put(spec::CONFIG_MAX_DISCARD_SECTORS, &MAX_DISCARD_SECTORS.to_le_bytes());
        put(spec::CONFIG_MAX_DISCARD_SEG, &(MAX_DISCARD_RANGES as u32).to_le_bytes());
        let alignment_sectors = disk.block_size_bytes() / SECTOR_SIZE as u32;
        put(spec::CONFIG_DISCARD_SECTOR_ALIGNMENT, &alignment_sectors.to_le_bytes());
    }
    if offer.write_zeroes {
        put(spec::CONFIG_MAX_WRITE_ZEROES_SECTORS, &MAX_WRITE_ZEROES_SECTORS.to_le_bytes());
        put(spec::CONFIG_MAX_WRITE_ZEROES_SEG, &(MAX_WRITE_ZEROES_RANGES as u32).to_le_bytes());
        put(spec::CONFIG_WRITE_ZEROES_MAY_UNMAP, &[1]);
    }
    space
}
