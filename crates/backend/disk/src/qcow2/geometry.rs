//! Sizes that follow from the cluster size and the width of reference counts.

/// How an image divides itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// log2 of the cluster size in bytes, 9 to 21.
    pub(crate) cluster_bits: u32,
    /// log2 of the width of a reference count in bits, 0 to 6.
    pub(crate) refcount_order: u32,
}

impl Geometry {
    pub(crate) fn cluster_bytes(self) -> u64 {
        1 << self.cluster_bits
    }

    /// The cluster that a byte lies in.
    pub(crate) fn cluster_of(self, offset_bytes: u64) -> u64 {
        offset_bytes >> self.cluster_bits
    }

    /// First byte of a cluster; saturates, far beyond every file.
    pub(crate) fn offset_of(self, cluster: u64) -> u64 {
        cluster.saturating_mul(self.cluster_bytes())
    }

    /// Where a byte lies in its cluster.
    pub(crate) fn within(self, offset_bytes: u64) -> u64 {
        offset_bytes & (self.cluster_bytes() - 1)
    }

    /// Clusters that hold so many bytes.
    pub(crate) fn clusters_for(self, length_bytes: u64) -> u64 {
        length_bytes.div_ceil(self.cluster_bytes())
    }

    pub(crate) fn is_aligned(self, offset_bytes: u64) -> bool {
        self.within(offset_bytes) == 0
    }

    /// Entries of an L2 table, each for a cluster.
    pub(crate) fn l2_entries(self) -> u64 {
        self.cluster_bytes() / 8
    }

    /// The L1 entry for a guest cluster.
    pub(crate) fn l1_index(self, guest_cluster: u64) -> usize {
        (guest_cluster / self.l2_entries()) as usize
    }

    /// The entry in its L2 table for a guest cluster.
    pub(crate) fn l2_index(self, guest_cluster: u64) -> usize {
        (guest_cluster % self.l2_entries()) as usize
    }

    /// L1 entries for a disk of `size_bytes`.
    pub(crate) fn l1_entries_for(self, size_bytes: u64) -> u64 {
        self.clusters_for(size_bytes).div_ceil(self.l2_entries())
    }

    /// Reference counts of a block, each for a host cluster.
    pub(crate) fn refcounts_per_block(self) -> u64 {
        (self.cluster_bytes() * 8) >> self.refcount_order
    }

    /// Largest reference count.
    pub(crate) fn refcount_max(self) -> u64 {
        u64::MAX >> (64 - (1u32 << self.refcount_order))
    }

    /// Bits of a compressed cluster's host offset: what is above them counts sectors (Compressed Clusters
    /// Descriptor).
    pub(crate) fn compressed_offset_bits(self) -> u32 {
        62 - (self.cluster_bits - 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_from_the_cluster_size() {
        let geometry = Geometry { cluster_bits: 16, refcount_order: 4 };
        assert_eq!((geometry.l2_entries(), geometry.refcounts_per_block()), (8192, 32768));
        assert_eq!((geometry.refcount_max(), geometry.compressed_offset_bits()), (65535, 54));
        assert_eq!(geometry.l1_entries_for((512 << 20) + 1), 2);
        let small = Geometry { cluster_bits: 9, refcount_order: 6 };
        assert_eq!(
            (small.l2_entries(), small.refcounts_per_block(), small.refcount_max()),
            (64, 64, u64::MAX)
        );
        assert_eq!(Geometry { cluster_bits: 21, refcount_order: 0 }.refcount_max(), 1);
    }
}
