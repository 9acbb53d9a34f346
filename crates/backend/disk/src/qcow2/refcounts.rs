//! Reference counts of host clusters, and who gets which cluster.

use std::io;

use super::geometry::Geometry;
use super::owner::Owner;
use super::spec::{REFTABLE_BYTES_MAX, REFTABLE_OFFSET_MASK, SIZE_BYTES_MAX};
use super::tables::TableKind;
use crate::error::FormatError;

/// Clusters by which a file grows at once, at most.
const GROWTH_CLUSTERS: u64 = 64;

/// Host clusters in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: u64,
    pub(crate) count: u64,
}

/// The count at `index` of a block.
pub(crate) fn refcount_in(block: &[u8], index: usize, order: u32) -> u64 {
    match order {
        // Counts narrower than a byte fill it from its low bits upwards (Refcount blocks).
        0..=2 => {
            let bits = 1usize << order;
            let at = index * bits;
            u64::from(block[at / 8] >> (at % 8)) & ((1 << bits) - 1)
        }
        _ => {
            let bytes = 1usize << (order - 3);
            block[index * bytes..(index + 1) * bytes]
                .iter()
                .fold(0, |value, byte| value << 8 | u64::from(*byte))
        }
    }
}

/// Changes the count at `index` of a block.
pub(crate) fn put_refcount(block: &mut [u8], index: usize, order: u32, value: u64) {
    let (at, bytes) = refcount_bytes(block, index, order, value);
    block[at..at + bytes.len()].copy_from_slice(&bytes);
}

/// Where a block has to be changed for the count at `index` to become `value`, and how.
fn refcount_bytes(block: &[u8], index: usize, order: u32, value: u64) -> (usize, Vec<u8>) {
    match order {
        0..=2 => {
            let bits = 1usize << order;
            let at = index * bits;
            let mask = (((1u16 << bits) - 1) << (at % 8)) as u8;
            (at / 8, vec![block[at / 8] & !mask | (value << (at % 8)) as u8 & mask])
        }
        _ => {
            let bytes = 1usize << (order - 3);
            (index * bytes, value.to_be_bytes()[8 - bytes..].to_vec())
        }
    }
}

/// Index of the first count of zero in a block, from `from` on.
fn find_zero(block: &[u8], from: usize, geometry: Geometry) -> Option<usize> {
    let counts = geometry.refcounts_per_block() as usize;
    (from..counts).find(|index| refcount_in(block, *index, geometry.refcount_order) == 0)
}

impl Owner {
    /// The reference count of a host cluster; what no block counts is not referred to.
    pub(super) fn refcount(&mut self, cluster: u64) -> io::Result<u64> {
        let Some((block, index)) = self.block_of(cluster)? else { return Ok(0) };
        let order = self.geometry.refcount_order;
        let data = self.tables.get(&*self.file, block, TableKind::Refcounts)?;
        Ok(refcount_in(data, index, order))
    }

    /// Changes the reference count of a cluster that a block counts.
    pub(super) fn set_refcount(&mut self, cluster: u64, value: u64) -> io::Result<()> {
        if value > self.geometry.refcount_max() {
            return Err(
                FormatError::damaged("a cluster is referred to more often than can be counted").into()
            );
        }
        let Some((block, index)) = self.block_of(cluster)? else {
            return Err(
                FormatError::damaged("a cluster is in use that no reference count block counts").into()
            );
        };
        let order = self.geometry.refcount_order;
        let data = self.tables.get(&*self.file, block, TableKind::Refcounts)?;
        let (at, bytes) = refcount_bytes(data, index, order, value);
        self.tables.set(block, at, &bytes);
        Ok(())
    }

    /// Sees to it that a block counts a cluster.
    pub(super) fn make_countable(&mut self, cluster: u64) -> io::Result<()> {
        let index = cluster / self.geometry.refcounts_per_block();
        while self.block_at(index)?.is_none() {
            self.make_block(index)?;
        }
        Ok(())
    }

    /// One more reference to a cluster.
    pub(super) fn add_reference(&mut self, cluster: u64) -> io::Result<()> {
        let count = self.refcount(cluster)?;
        self.set_refcount(cluster, count + 1)
    }

    /// One reference fewer to each cluster of `run`. Those that nothing refers to any more are free at once:
    /// the file must not lead to them either.
    pub(super) fn drop_references(&mut self, run: Run) -> io::Result<()> {
        for cluster in run.first..run.first + run.count {
            let offset = self.geometry.offset_of(cluster);
            if self.header.is_fixed(offset, self.geometry.cluster_bytes()) {
                tracing::warn!(offset, "a data cluster lies over the image's own tables; it needs a check");
                continue;
            }
            match self.refcount(cluster)? {
                0 => {
                    tracing::warn!(
                        offset,
                        "a cluster was in use without being counted; the image needs a check"
                    );
                }
                count => self.set_refcount(cluster, count - 1)?,
            }
            if self.refcount(cluster)? == 0 {
                self.free_hint = self.free_hint.min(cluster);
                self.tables.forget(offset);
            }
        }
        Ok(())
    }

    /// Takes at least one and at most `wanted` free clusters in a row; and whether they read as zeros.
    pub(super) fn allocate(&mut self, wanted: u64) -> io::Result<(Run, bool)> {
        loop {
            let first = self.next_free(self.free_hint)?;
            self.free_hint = first;
            let run = Run { first, count: self.free_in_row(first, wanted)? };
            let fresh = self.geometry.offset_of(first) >= self.fresh_from;
            if self.take(run)? {
                self.free_hint = run.first + run.count;
                return Ok((run, fresh));
            }
        }
    }

    /// Takes exactly `count` clusters in a row.
    pub(super) fn allocate_all(&mut self, count: u64) -> io::Result<Run> {
        let mut from = self.free_hint;
        loop {
            let first = self.next_free(from)?;
            let found = self.free_in_row(first, count)?;
            from = first + found;
            if found < count {
                continue;
            }
            if self.take(Run { first, count })? {
                return Ok(Run { first, count });
            }
            from = self.free_hint;
        }
    }

    /// Counts a reference to each cluster of a free run; `false` when blocks had to be made for that, which
    /// may lie in the run.
    fn take(&mut self, run: Run) -> io::Result<bool> {
        let geometry = self.geometry;
        let end = geometry.offset_of(run.first + run.count);
        if end > SIZE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the image has no room left"));
        }
        if self.header.is_fixed(geometry.offset_of(run.first), end - geometry.offset_of(run.first)) {
            return Err(FormatError::damaged("the image's own tables are not counted as in use").into());
        }
        let per_block = geometry.refcounts_per_block();
        for index in run.first / per_block..=(run.first + run.count - 1) / per_block {
            if self.block_at(index)?.is_none() {
                self.make_block(index)?;
                return Ok(false);
            }
        }
        self.grow_file(end)?;
        for cluster in run.first..run.first + run.count {
            self.set_refcount(cluster, 1)?;
        }
        self.fresh_from = self.fresh_from.max(end);
        Ok(true)
    }

    /// Makes the file long enough, with some room for what comes next.
    fn grow_file(&mut self, end_bytes: u64) -> io::Result<()> {
        if end_bytes > self.file_bytes {
            let length_bytes = end_bytes.next_multiple_of(GROWTH_CLUSTERS * self.geometry.cluster_bytes());
            self.file.set_len(length_bytes)?;
            self.file_bytes = length_bytes;
            self.has_grown = true;
        }
        Ok(())
    }

    /// Cuts off the room that was made and not needed. For an image that nobody is at any more.
    pub(super) fn trim_file(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.has_grown) {
            return Ok(());
        }
        let mut clusters = self.geometry.clusters_for(self.file_bytes);
        while clusters > 0 && self.refcount(clusters - 1)? == 0 {
            clusters -= 1;
        }
        self.file_bytes = self.geometry.offset_of(clusters);
        self.fresh_from = self.file_bytes;
        self.file.set_len(self.file_bytes)
    }

    /// The first free cluster from `from` on.
    fn next_free(&mut self, from: u64) -> io::Result<u64> {
        let per_block = self.geometry.refcounts_per_block();
        let mut cluster = from;
        loop {
            let Some((block, index)) = self.block_of(cluster)? else { return Ok(cluster) };
            let geometry = self.geometry;
            let data = self.tables.get(&*self.file, block, TableKind::Refcounts)?;
            match find_zero(data, index, geometry) {
                Some(found) => return Ok(cluster - index as u64 + found as u64),
                None => cluster = (cluster / per_block + 1) * per_block,
            }
        }
    }

    /// How many clusters from `first`, which is free, are free in a row, at most `wanted`.
    fn free_in_row(&mut self, first: u64, wanted: u64) -> io::Result<u64> {
        let mut count = 1;
        while count < wanted && self.refcount(first + count)? == 0 {
            count += 1;
        }
        Ok(count)
    }

    /// Makes a block for the counts of part `index`, or one that is needed before it.
    ///
    /// The block takes the first free cluster. Where no block counts that one either, it is its own that is
    /// made: a block may lie among the clusters that it counts.
    fn make_block(&mut self, index: u64) -> io::Result<()> {
        let cluster = self.next_free(self.free_hint)?;
        let home = cluster / self.geometry.refcounts_per_block();
        let index = if self.block_at(home)?.is_some() { index } else { home };
        self.grow_reftable(index)?;
        if self.refcount(cluster)? != 0 || self.block_at(index)?.is_some() {
            // The table has grown, and what it needed is what was to be made here.
            return Ok(());
        }
        let offset = self.geometry.offset_of(cluster);
        self.grow_file(offset + self.geometry.cluster_bytes())?;
        self.tables.insert_new(offset, TableKind::Refcounts, vec![0; self.geometry.cluster_bytes() as usize]);
        self.reftable[index as usize] = offset;
        self.reftable_dirty.insert(index as usize);
        self.fresh_from = self.fresh_from.max(offset + self.geometry.cluster_bytes());
        self.set_refcount(cluster, 1)
    }

    /// Makes the reference count table long enough for an entry at `index`, if it is not.
    fn grow_reftable(&mut self, index: u64) -> io::Result<()> {
        if index < self.reftable.len() as u64 {
            return Ok(());
        }
        let cluster_bytes = self.geometry.cluster_bytes();
        let mut wanted_clusters = self.geometry.clusters_for((index + index / 2 + 1) * 8);
        loop {
            if wanted_clusters * cluster_bytes > REFTABLE_BYTES_MAX {
                let why = "the image has no room left: its reference counts end here";
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
            }
            self.reftable.resize((wanted_clusters * cluster_bytes / 8) as usize, 0);
            let run = self.allocate_all(wanted_clusters)?;
            let needed_clusters = self.geometry.clusters_for(self.reftable.len() as u64 * 8);
            if needed_clusters > wanted_clusters {
                // Finding a place for it has made it grow again.
                self.drop_references(run)?;
                wanted_clusters = needed_clusters;
                continue;
            }
            let old = Run {
                first: self.geometry.cluster_of(self.header.reftable_offset),
                count: u64::from(self.header.reftable_clusters),
            };
            self.free_later(old);
            self.header.reftable_offset = self.geometry.offset_of(run.first);
            self.header.reftable_clusters = wanted_clusters as u32;
            self.reftable_moved = true;
            return Ok(());
        }
    }

    /// The block that counts a cluster, and the cluster's index in it.
    fn block_of(&self, cluster: u64) -> io::Result<Option<(u64, usize)>> {
        let per_block = self.geometry.refcounts_per_block();
        let block = self.block_at(cluster / per_block)?;
        Ok(block.map(|block| (block, (cluster % per_block) as usize)))
    }

    /// Offset of a block, where there is one.
    fn block_at(&self, index: u64) -> io::Result<Option<u64>> {
        let entry = usize::try_from(index).ok().and_then(|index| self.reftable.get(index)).copied();
        let offset = entry.unwrap_or(0) & REFTABLE_OFFSET_MASK;
        if !self.geometry.is_aligned(offset) {
            return Err(FormatError::damaged("a reference count block begins inside a cluster").into());
        }
        Ok((offset != 0).then_some(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_every_width_are_kept_apart() {
        for order in 0..=6 {
            let geometry = Geometry { cluster_bits: 9, refcount_order: order };
            let mut block = vec![0; 512];
            let counts = geometry.refcounts_per_block() as usize;
            for index in 0..counts {
                let value = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) & geometry.refcount_max();
                put_refcount(&mut block, index, order, value);
            }
            for index in 0..counts {
                let value = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) & geometry.refcount_max();
                assert_eq!(refcount_in(&block, index, order), value, "width 2^{order}, {index}");
            }
            assert_eq!(find_zero(&block, 0, geometry), Some(0));
        }
    }
}
