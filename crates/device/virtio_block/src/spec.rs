//! Numbers of the specification: VIRTIO 1.2, section 5.2.

/// `VIRTIO_BLK_F_SEG_MAX` (5.2.3): most segments of a request are in `seg_max`.
pub(crate) const F_SEG_MAX: u64 = 1 << 2;
/// `VIRTIO_BLK_F_RO` (5.2.3): the disk is read-only.
pub(crate) const F_RO: u64 = 1 << 5;
/// `VIRTIO_BLK_F_BLK_SIZE` (5.2.3): the disk's block size is in `blk_size`.
pub(crate) const F_BLK_SIZE: u64 = 1 << 6;
/// `VIRTIO_BLK_F_FLUSH` (5.2.3): the disk has a cache that can be flushed.
pub(crate) const F_FLUSH: u64 = 1 << 9;
/// `VIRTIO_BLK_F_TOPOLOGY` (5.2.3): what I/O is efficient is in `topology`.
pub(crate) const F_TOPOLOGY: u64 = 1 << 10;
/// `VIRTIO_BLK_F_CONFIG_WCE` (5.2.3): the cache can be switched between writeback and writethrough.
pub(crate) const F_CONFIG_WCE: u64 = 1 << 11;
/// `VIRTIO_BLK_F_MQ` (5.2.3): there are `num_queues` queues.
pub(crate) const F_MQ: u64 = 1 << 12;
/// `VIRTIO_BLK_F_DISCARD` (5.2.3): ranges can be discarded.
pub(crate) const F_DISCARD: u64 = 1 << 13;
/// `VIRTIO_BLK_F_WRITE_ZEROES` (5.2.3): ranges can be zeroed.
pub(crate) const F_WRITE_ZEROES: u64 = 1 << 14;

/// `VIRTIO_BLK_T_IN` (5.2.6): read.
pub(crate) const T_IN: u32 = 0;
/// `VIRTIO_BLK_T_OUT` (5.2.6): write.
pub(crate) const T_OUT: u32 = 1;
/// `VIRTIO_BLK_T_FLUSH` (5.2.6): flush the cache.
pub(crate) const T_FLUSH: u32 = 4;
/// `VIRTIO_BLK_T_GET_ID` (5.2.6): read the serial number.
pub(crate) const T_GET_ID: u32 = 8;
/// `VIRTIO_BLK_T_DISCARD` (5.2.6): discard ranges.
pub(crate) const T_DISCARD: u32 = 11;
/// `VIRTIO_BLK_T_WRITE_ZEROES` (5.2.6): zero ranges.
pub(crate) const T_WRITE_ZEROES: u32 = 13;

/// `VIRTIO_BLK_S_OK` (5.2.6): success.
pub(crate) const S_OK: u8 = 0;
/// `VIRTIO_BLK_S_IOERR` (5.2.6): failed, by the device's or the driver's fault.
pub(crate) const S_IOERR: u8 = 1;
/// `VIRTIO_BLK_S_UNSUPP` (5.2.6): not supported.
pub(crate) const S_UNSUPP: u8 = 2;

/// Bytes of `type`, `reserved` and `sector` at the start of a request (5.2.6).
pub(crate) const HEADER_SIZE: usize = 16;
/// Bytes of a serial number, padded with zeros (5.2.6).
pub(crate) const ID_SIZE: usize = 20;
/// Bytes of `struct virtio_blk_discard_write_zeroes` (5.2.6).
pub(crate) const RANGE_SIZE: usize = 16;
/// The `unmap` bit of a range's flags (5.2.6); the others are reserved.
pub(crate) const RANGE_UNMAP: u32 = 1;

/// Bytes of `struct virtio_blk_config` up to `write_zeroes_may_unmap` and its padding (5.2.4).
pub(crate) const CONFIG_SIZE: usize = 60;
/// Offset of `capacity` (5.2.4).
pub(crate) const CONFIG_CAPACITY: usize = 0;
/// Offset of `seg_max` (5.2.4).
pub(crate) const CONFIG_SEG_MAX: usize = 12;
/// Offset of `blk_size` (5.2.4).
pub(crate) const CONFIG_BLK_SIZE: usize = 20;
/// Offset of `topology.physical_block_exp` (5.2.4): logical blocks of a physical one, as a power of two.
pub(crate) const CONFIG_PHYSICAL_BLOCK_EXP: usize = 24;
/// Offset of `topology.min_io_size` (5.2.4), in logical blocks.
pub(crate) const CONFIG_MIN_IO_SIZE: usize = 26;
/// Offset of `writeback` (5.2.4).
pub(crate) const CONFIG_WRITEBACK: usize = 32;
/// Offset of `num_queues` (5.2.4).
pub(crate) const CONFIG_NUM_QUEUES: usize = 34;
/// Offset of `max_discard_sectors` (5.2.4).
pub(crate) const CONFIG_MAX_DISCARD_SECTORS: usize = 36;
/// Offset of `max_discard_seg` (5.2.4).
pub(crate) const CONFIG_MAX_DISCARD_SEG: usize = 40;
/// Offset of `discard_sector_alignment` (5.2.4).
pub(crate) const CONFIG_DISCARD_SECTOR_ALIGNMENT: usize = 44;
/// Offset of `max_write_zeroes_sectors` (5.2.4).
pub(crate) const CONFIG_MAX_WRITE_ZEROES_SECTORS: usize = 48;
/// Offset of `max_write_zeroes_seg` (5.2.4).
pub(crate) const CONFIG_MAX_WRITE_ZEROES_SEG: usize = 52;
/// Offset of `write_zeroes_may_unmap` (5.2.4).
pub(crate) const CONFIG_WRITE_ZEROES_MAY_UNMAP: usize = 56;
