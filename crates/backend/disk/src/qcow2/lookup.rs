//! Looking up where a range of the disk is.

use std::io;

use super::entry::{CompressedRange, Mapping};
use super::owner::{CLUSTERS_AT_ONCE, Owner};
use super::spec::{OFFSET_MASK, table_entry};
use super::tables::TableKind;
use crate::error::FormatError;

/// What a range of the disk consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// In the backing file, or zeros without one.
    Unallocated,
    /// Zeros.
    Zero,
    /// In the file from this offset on.
    Data(u64),
    /// One compressed cluster, from this byte of it on.
    Compressed(CompressedRange, u64),
}

/// An extent and its length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) extent: Extent,
    pub(crate) length_bytes: u64,
}

impl Owner {
    /// Whether a look at the range would not have to read tables.
    pub(crate) fn is_cached(&self, offset_bytes: u64, length_bytes: u64) -> bool {
        let first = self.geometry.l1_index(self.geometry.cluster_of(offset_bytes));
        let last = self.geometry.l1_index(self.geometry.cluster_of(offset_bytes + length_bytes.max(1) - 1));
        (first..=last).all(|index| {
            let table = self.l1.get(index).unwrap_or(&0) & OFFSET_MASK;
            table == 0 || self.tables.has(table)
        })
    }

    /// What the start of the range consists of, at least one piece. The range lies in the disk.
    pub(crate) fn pieces(&mut self, offset_bytes: u64, length_bytes: u64) -> io::Result<Vec<Piece>> {
        let mut pieces: Vec<Piece> = Vec::new();
        let end = offset_bytes + length_bytes;
        let mut at = offset_bytes;
        let mut clusters = 0;
        while at < end && clusters < CLUSTERS_AT_ONCE {
            let (cluster, within) = (self.geometry.cluster_of(at), self.geometry.within(at));
            let mapping = self.mapping(cluster)?;
            // Where there is no L2 table, all that it would hold is the same.
            let same = if self.l2_offset(cluster)?.is_none() {
                self.geometry.l2_entries() - cluster % self.geometry.l2_entries()
            } else {
                1
            };
            let length = (same * self.geometry.cluster_bytes() - within).min(end - at);
            let extent = match mapping {
                Mapping::Unallocated => Extent::Unallocated,
                Mapping::Zero { .. } => Extent::Zero,
                Mapping::Data { host, .. } => Extent::Data(host + within),
                Mapping::Compressed(range) => Extent::Compressed(range, within),
            };
            match pieces.last_mut() {
                Some(last) if last.continues_with(extent) => last.length_bytes += length,
                _ => pieces.push(Piece { extent, length_bytes: length }),
            }
            at += length;
            clusters += 1;
        }
        Ok(pieces)
    }

    /// The start of the range as pieces that need nothing but I/O on the file: `None` where tables have to be
    /// read, places found, or other files looked at, and where the pieces are too many.
    pub(crate) fn direct_pieces(
        &mut self,
        offset_bytes: u64,
        length_bytes: u64,
        write: bool,
        pieces_max: usize,
    ) -> io::Result<Option<Vec<Piece>>> {
        if !self.is_cached(offset_bytes, length_bytes) || (write && self.check_writable().is_err()) {
            return Ok(None);
        }
        let pieces = self.pieces(offset_bytes, length_bytes)?;
        let covered: u64 = pieces.iter().map(|piece| piece.length_bytes).sum();
        let direct = |piece: &Piece| match piece.extent {
            Extent::Data(host_bytes) => host_bytes + piece.length_bytes <= self.file_bytes,
            Extent::Zero => !write,
            Extent::Unallocated => !write && self.backed_bytes == 0,
            Extent::Compressed(..) => false,
        };
        if covered < length_bytes || pieces.len() > pieces_max || !pieces.iter().all(direct) {
            return Ok(None);
        }
        if write && !self.is_in_place(offset_bytes, length_bytes)? {
            return Ok(None);
        }
        Ok(Some(pieces))
    }

    /// Whether all of a range can be written where it is.
    fn is_in_place(&mut self, offset_bytes: u64, length_bytes: u64) -> io::Result<bool> {
        let last = self.geometry.cluster_of(offset_bytes + length_bytes - 1);
        for cluster in self.geometry.cluster_of(offset_bytes)..=last {
            let Mapping::Data { host, copied: true } = self.mapping(cluster)? else { return Ok(false) };
            if self.is_allocating(cluster) || self.header.is_fixed(host, self.geometry.cluster_bytes()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a cluster reads as zeros whatever a backing file says.
    pub(crate) fn reads_as_zero(&mut self, cluster: u64) -> io::Result<bool> {
        Ok(match self.mapping(cluster)? {
            Mapping::Unallocated => !self.is_backed(cluster),
            Mapping::Zero { .. } => true,
            Mapping::Data { .. } | Mapping::Compressed(_) => false,
        })
    }

    pub(super) fn is_backed(&self, cluster: u64) -> bool {
        self.geometry.offset_of(cluster) < self.backed_bytes
    }

    /// What an image says about one cluster.
    pub(super) fn mapping(&mut self, cluster: u64) -> io::Result<Mapping> {
        let Some(table) = self.l2_offset(cluster)? else { return Ok(Mapping::Unallocated) };
        let data = self.tables.get(&*self.file, table, TableKind::L2)?;
        let entry = table_entry(data, self.geometry.l2_index(cluster));
        Ok(Mapping::decode(entry, self.geometry, self.header.version)?)
    }

    /// Offset of the L2 table for a cluster, where there is one.
    pub(super) fn l2_offset(&self, cluster: u64) -> io::Result<Option<u64>> {
        let entry = self.l1.get(self.geometry.l1_index(cluster)).unwrap_or(&0);
        let offset = entry & OFFSET_MASK;
        if !self.geometry.is_aligned(offset) {
            return Err(FormatError::damaged("an L2 table begins inside a cluster").into());
        }
        if offset != 0 && self.header.is_fixed(offset, self.geometry.cluster_bytes()) {
            return Err(FormatError::damaged("an L2 table lies over the image's other tables").into());
        }
        Ok((offset != 0).then_some(offset))
    }
}

impl Piece {
    fn continues_with(&self, extent: Extent) -> bool {
        match (self.extent, extent) {
            (Extent::Unallocated, Extent::Unallocated) | (Extent::Zero, Extent::Zero) => true,
            (Extent::Data(from), Extent::Data(next)) => from + self.length_bytes == next,
            _ => false,
        }
    }
}
