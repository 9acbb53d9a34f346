//! Numbers of the format (QEMU, `docs/interop/qcow2.txt`). All integers are big-endian.

use std::ops::Range;

/// First bytes of an image, and its versions (Header).
pub(crate) const MAGIC: [u8; 4] = *b"QFI\xfb";
pub(crate) const V2_HEADER_BYTES: usize = 72;
/// Shortest header of version 3.
pub(crate) const V3_HEADER_BYTES: usize = 104;
/// The header that we write: with the compression type and padding to 8.
pub(crate) const OUR_HEADER_BYTES: usize = 112;

/// Fields of the header.
pub(crate) const VERSION: Range<usize> = 4..8;
pub(crate) const BACKING_OFFSET: Range<usize> = 8..16;
pub(crate) const BACKING_LENGTH: Range<usize> = 16..20;
pub(crate) const CLUSTER_BITS: Range<usize> = 20..24;
pub(crate) const SIZE: Range<usize> = 24..32;
pub(crate) const CRYPT_METHOD: Range<usize> = 32..36;
pub(crate) const L1_ENTRIES: Range<usize> = 36..40;
pub(crate) const L1_OFFSET: Range<usize> = 40..48;
pub(crate) const REFTABLE_OFFSET: Range<usize> = 48..56;
pub(crate) const REFTABLE_CLUSTERS: Range<usize> = 56..60;
pub(crate) const SNAPSHOTS: Range<usize> = 60..64;
pub(crate) const SNAPSHOTS_OFFSET: Range<usize> = 64..72;
pub(crate) const INCOMPATIBLE: Range<usize> = 72..80;
pub(crate) const COMPATIBLE: Range<usize> = 80..88;
pub(crate) const AUTOCLEAR: Range<usize> = 88..96;
pub(crate) const REFCOUNT_ORDER: Range<usize> = 96..100;
pub(crate) const HEADER_LENGTH: Range<usize> = 100..104;
pub(crate) const COMPRESSION_TYPE: usize = 104;

/// Incompatible features.
pub(crate) const INCOMPATIBLE_DIRTY: u64 = 1 << 0;
pub(crate) const INCOMPATIBLE_CORRUPT: u64 = 1 << 1;
pub(crate) const INCOMPATIBLE_DATA_FILE: u64 = 1 << 2;
pub(crate) const INCOMPATIBLE_COMPRESSION: u64 = 1 << 3;
pub(crate) const INCOMPATIBLE_SUBCLUSTERS: u64 = 1 << 4;
/// Compatible features.
pub(crate) const COMPATIBLE_LAZY_REFCOUNTS: u64 = 1 << 0;
/// Features that a writer clears if it does not keep them.
pub(crate) const AUTOCLEAR_BITMAPS: u64 = 1 << 0;

/// Header extensions.
pub(crate) const EXTENSION_END: u32 = 0;
pub(crate) const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;

/// Longest backing file name.
pub(crate) const BACKING_NAME_MAX: usize = 1023;
/// Cluster sizes, as powers of two: 512 bytes to 2 MiB.
pub(crate) const CLUSTER_BITS_MIN: u32 = 9;
pub(crate) const CLUSTER_BITS_MAX: u32 = 21;
/// Widths of a reference count, as powers of two: 1 to 64 bits.
pub(crate) const REFCOUNT_ORDER_MAX: u32 = 6;
/// What version 2 has: 16 bits.
pub(crate) const REFCOUNT_ORDER_DEFAULT: u32 = 4;

/// Bits of L1 and standard L2 entries (L1 table entry, Standard Cluster Descriptor).
pub(crate) const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
pub(crate) const COPIED: u64 = 1 << 63;
pub(crate) const COMPRESSED: u64 = 1 << 62;
pub(crate) const ZERO: u64 = 1;
/// Bits of a reference count table entry.
pub(crate) const REFTABLE_OFFSET_MASK: u64 = !0x1ff;

/// Limits of ours, and of QEMU: what an image can make a reader hold in memory.
pub(crate) const L1_BYTES_MAX: u64 = 32 << 20;
pub(crate) const REFTABLE_BYTES_MAX: u64 = 8 << 20;
pub(crate) const SNAPSHOTS_MAX: u32 = 65_536;
pub(crate) const SNAPSHOT_TABLE_BYTES_MAX: u64 = 64 << 20;
/// Largest disk and largest file: what signed offsets can name, in whole sectors.
pub(crate) const SIZE_BYTES_MAX: u64 = (i64::MAX as u64) & !0x1ff;

/// Fields of a snapshot table entry (Snapshots).
pub(crate) const SNAPSHOT_ENTRY_BYTES: usize = 40;
pub(crate) const SNAPSHOT_L1_OFFSET: Range<usize> = 0..8;
pub(crate) const SNAPSHOT_L1_ENTRIES: Range<usize> = 8..12;
pub(crate) const SNAPSHOT_ID_LENGTH: Range<usize> = 12..14;
pub(crate) const SNAPSHOT_NAME_LENGTH: Range<usize> = 14..16;
pub(crate) const SNAPSHOT_EXTRA_LENGTH: Range<usize> = 36..40;

/// A big-endian number in `bytes`, at a field of 4 bytes.
pub(crate) fn get_u32(bytes: &[u8], field: Range<usize>) -> u32 {
    field.fold(0, |value, at| value << 8 | u32::from(bytes[at]))
}

/// A big-endian number in `bytes`, at a field of 8 bytes.
pub(crate) fn get_u64(bytes: &[u8], field: Range<usize>) -> u64 {
    field.fold(0, |value, at| value << 8 | u64::from(bytes[at]))
}

/// The entry of a table of big-endian numbers.
pub(crate) fn table_entry(table: &[u8], index: usize) -> u64 {
    get_u64(table, index * 8..index * 8 + 8)
}

/// A table of numbers in the file's form.
pub(crate) fn table_bytes(entries: &[u64]) -> Vec<u8> {
    entries.iter().flat_map(|entry| entry.to_be_bytes()).collect()
}
