//! L2 entries: what an image says about one cluster of the disk.

use super::geometry::Geometry;
use super::spec::{COMPRESSED, COPIED, OFFSET_MASK, ZERO};
use crate::error::FormatError;

/// Where the contents of a guest cluster are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mapping {
    /// In the backing file, or zeros without one.
    Unallocated,
    /// Zeros. A host cluster may be set aside for it.
    Zero {
        /// Offset of that cluster, and whether nothing else refers to it.
        host: Option<(u64, bool)>,
    },
    /// In a host cluster.
    Data {
        /// Its offset in bytes.
        host: u64,
        /// Nothing else refers to it: it can be written in place.
        copied: bool,
    },
    /// Compressed, not aligned to anything.
    Compressed(CompressedRange),
}

/// Where a compressed cluster lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CompressedRange {
    pub(crate) offset_bytes: u64,
    /// At least as long as the data: up to the end of its last sector.
    pub(crate) length_bytes: u64,
}

impl CompressedRange {
    /// The host clusters that it touches: the first, and how many.
    pub(crate) fn clusters(self, geometry: Geometry) -> (u64, u64) {
        let first = geometry.cluster_of(self.offset_bytes);
        let last = geometry.cluster_of(self.offset_bytes + self.length_bytes - 1);
        (first, last - first + 1)
    }
}

impl Mapping {
    /// Makes sense of an entry. Bit 0 has a meaning from version 3 on.
    pub(crate) fn decode(entry: u64, geometry: Geometry, version: u32) -> Result<Mapping, FormatError> {
        if entry & COMPRESSED != 0 {
            return Ok(Mapping::Compressed(decode_compressed(entry, geometry)));
        }
        let (host, copied) = (entry & OFFSET_MASK, entry & COPIED != 0);
        if !geometry.is_aligned(host) {
            return Err(FormatError::damaged("a data cluster begins inside a cluster"));
        }
        Ok(if version >= 3 && entry & ZERO != 0 {
            Mapping::Zero { host: (host != 0).then_some((host, copied)) }
        } else if host == 0 {
            Mapping::Unallocated
        } else {
            Mapping::Data { host, copied }
        })
    }

    /// The host clusters that the entry refers to: the first, and how many.
    pub(crate) fn host_clusters(self, geometry: Geometry) -> Option<(u64, u64)> {
        match self {
            Mapping::Unallocated | Mapping::Zero { host: None } => None,
            Mapping::Zero { host: Some((host, _)) } | Mapping::Data { host, .. } => {
                Some((geometry.cluster_of(host), 1))
            }
            Mapping::Compressed(range) => Some(range.clusters(geometry)),
        }
    }
}

/// The entry for a cluster of its own at `host`.
pub(crate) fn data_entry(host: u64) -> u64 {
    host | COPIED
}

/// The entry for compressed data of `length` bytes at `offset_bytes`.
pub(crate) fn compressed_entry(offset_bytes: u64, length: u64, geometry: Geometry) -> u64 {
    let last_sector = (offset_bytes + length - 1) / 512;
    let more_sectors = last_sector - offset_bytes / 512;
    COMPRESSED | more_sectors << geometry.compressed_offset_bits() | offset_bytes
}

fn decode_compressed(entry: u64, geometry: Geometry) -> CompressedRange {
    let bits = geometry.compressed_offset_bits();
    let offset_bytes = entry & ((1 << bits) - 1);
    let more_sectors = (entry & !(COPIED | COMPRESSED)) >> bits;
    CompressedRange { offset_bytes, length_bytes: (more_sectors + 1) * 512 - offset_bytes % 512 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GEOMETRY: Geometry = Geometry { cluster_bits: 16, refcount_order: 4 };

    fn decode(entry: u64) -> Mapping {
        Mapping::decode(entry, GEOMETRY, 3).unwrap()
    }

    #[test]
    fn entries_are_told_apart() {
        assert_eq!(decode(0), Mapping::Unallocated);
        assert_eq!(decode(1), Mapping::Zero { host: None });
        assert_eq!(decode(COPIED | 0x30001), Mapping::Zero { host: Some((0x30000, true)) });
        assert_eq!(decode(data_entry(0x50000)), Mapping::Data { host: 0x50000, copied: true });
        assert_eq!(decode(0x50000), Mapping::Data { host: 0x50000, copied: false });
        assert_eq!(Mapping::decode(0x50001, GEOMETRY, 2), Ok(Mapping::Data { host: 0x50000, copied: false }));
        assert!(Mapping::decode(0x50200, GEOMETRY, 3).is_err());
    }

    #[test]
    fn compressed_ranges_survive_their_entry() {
        for (offset_bytes, length) in [(0x50000, 1), (0x501ff, 2), (0x5fff0, 40000), (0x1234567, 65536)] {
            let Mapping::Compressed(range) = decode(compressed_entry(offset_bytes, length, GEOMETRY)) else {
                panic!("not compressed")
            };
            assert_eq!(range.offset_bytes, offset_bytes);
            assert!(range.length_bytes >= length && range.length_bytes < length + 512);
        }
        let range = CompressedRange { offset_bytes: 0x5fff0, length_bytes: 0x210 };
        assert_eq!(range.clusters(GEOMETRY), (5, 2));
    }
}
