//! The one owner of an image's metadata: which cluster is where, and which is free.
//!
//! Everything here is done under one lock, and nothing here reads or writes the guest's data: whoever wants
//! that asks for a place, lets go of the lock, and tells when it is done.
//!
//! ```text
//! write:  begin_write ──InPlace──► data I/O ──► (nothing to tell)
//!              │ └──Wait──► somebody else is at this cluster: ask again when that is over
//!              └──Allocate──► data I/O ──► link      (the disk's contents change here, at once)
//!                                  └failed► abandon
//! free:   free_later ──commit: the file leads there no more──► nobody reads it any more ──► free
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::entry::{Mapping, data_entry};
use super::geometry::Geometry;
use super::header::Header;
use super::refcounts::Run;
use super::spec::{COPIED, OFFSET_MASK, ZERO, table_entry};
use super::tables::{TableKind, Tables};
use crate::error::FormatError;
use crate::image_file::{ImageFile, read_vec};

/// Most clusters that one step of a write takes, or one look at the tables covers.
pub(super) const CLUSTERS_AT_ONCE: u64 = 4096;

/// See the module.
pub(crate) struct Owner {
    pub(super) file: Arc<dyn ImageFile>,
    pub(super) geometry: Geometry,
    /// As the image stands in memory; `header.raw` as it stands in the file.
    pub(super) header: Header,
    pub(super) header_changed: bool,
    pub(super) l1: Vec<u64>,
    pub(super) l1_dirty: BTreeSet<usize>,
    /// The table as a whole is not in the file yet.
    pub(super) l1_moved: bool,
    pub(super) reftable: Vec<u64>,
    pub(super) reftable_dirty: BTreeSet<usize>,
    pub(super) reftable_moved: bool,
    pub(super) tables: Tables,
    /// All clusters before it are in use.
    pub(super) free_hint: u64,
    /// Where the compressed cluster after the last can go: offset, and room up to the end of its host cluster.
    pub(super) packing: Option<(u64, u64)>,
    /// The file reads as zeros from here on, and nothing was given away there.
    pub(super) fresh_from: u64,
    /// Length of the file. It grows before a place is given away, never by writing to one: making it longer
    /// would otherwise cut off what somebody has just written behind its old end.
    pub(super) file_bytes: u64,
    /// It has grown since it was opened.
    pub(super) has_grown: bool,
    /// Guest clusters that somebody is writing to a new place.
    allocating: Vec<Run>,
    /// No longer in use in memory, but in the file.
    pub(super) freed: Vec<Run>,
    /// No longer in use in the file, but somebody who looked earlier may be at it: with the last generation
    /// of those.
    pub(super) unlinked: Vec<(u64, Run)>,
    /// Of lookups; a new one begins with each commit.
    pub(super) generation: u64,
    /// Lookups in use, by generation.
    pins: BTreeMap<u64, u64>,
    /// Bytes of the disk that a backing file has something to say about.
    pub(super) backed_bytes: u64,
    pub(super) read_only: bool,
    /// Why nothing is written any more.
    pub(super) failed: Option<String>,
    pub(super) commits: super::commit::Commits,
}

/// How to go on with a write.
#[derive(Debug)]
pub(crate) enum WriteStep {
    /// Write so many bytes to the file from this offset on.
    InPlace { host_bytes: u64, length_bytes: u64 },
    /// Write whole clusters to a new place, and link it.
    Allocate(Allocation),
    /// Somebody is at it.
    Wait,
}

/// A new place for guest clusters in a row.
#[derive(Debug)]
pub(crate) struct Allocation {
    /// First guest cluster.
    pub(crate) guest: u64,
    pub(crate) count: u64,
    /// Offset of the new place.
    pub(crate) host_bytes: u64,
    /// The place reads as zeros.
    pub(crate) fresh: bool,
    /// The place was set aside for this cluster before.
    reused: bool,
    /// The first and the last cluster read as zeros so far.
    pub(crate) zero_ends: (bool, bool),
}

/// What to make of whole clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clearing {
    /// Nobody needs the contents.
    Discard,
    /// Zeros.
    Zero {
        /// Keep the host's room.
        keep: bool,
    },
}

impl Owner {
    /// Loads what is always in memory. The header has been checked.
    pub(super) fn load(
        file: Arc<dyn ImageFile>,
        header: Header,
        backed_bytes: u64,
        read_only: bool,
    ) -> Result<Owner, FormatError> {
        let geometry = header.geometry;
        let load = |offset, bytes: u64| -> Result<Vec<u64>, FormatError> {
            let table = read_vec(&*file, offset, bytes as usize)?;
            Ok((0..table.len() / 8).map(|index| table_entry(&table, index)).collect())
        };
        let l1 = load(header.l1_offset, u64::from(header.l1_entries) * 8)?;
        let reftable_bytes = u64::from(header.reftable_clusters) * geometry.cluster_bytes();
        let reftable = load(header.reftable_offset, reftable_bytes)?;
        let file_bytes = file.len_bytes()?;
        Ok(Owner {
            tables: Tables::new(geometry.cluster_bytes()),
            fresh_from: file_bytes.next_multiple_of(geometry.cluster_bytes()),
            file,
            geometry,
            header,
            header_changed: false,
            l1,
            l1_dirty: BTreeSet::new(),
            l1_moved: false,
            reftable,
            reftable_dirty: BTreeSet::new(),
            reftable_moved: false,
            free_hint: 0,
            packing: None,
            file_bytes,
            has_grown: false,
            allocating: Vec::new(),
            freed: Vec::new(),
            unlinked: Vec::new(),
            generation: 0,
            pins: BTreeMap::new(),
            backed_bytes,
            read_only,
            failed: None,
            commits: super::commit::Commits::default(),
        })
    }

    /// A place for the start of a write. `Allocate` has to be followed by [`link`](Owner::link) or
    /// [`abandon`](Owner::abandon).
    pub(crate) fn begin_write(&mut self, offset_bytes: u64, length_bytes: u64) -> io::Result<WriteStep> {
        self.check_writable()?;
        let geometry = self.geometry;
        let first = geometry.cluster_of(offset_bytes);
        let last = geometry.cluster_of(offset_bytes + length_bytes - 1);
        // No further than one L2 table.
        let table_end = (first / geometry.l2_entries() + 1) * geometry.l2_entries();
        let end = (last + 1).min(table_end).min(first + CLUSTERS_AT_ONCE);
        if self.is_allocating(first) {
            return Ok(WriteStep::Wait);
        }
        match self.mapping(first)? {
            Mapping::Data { host, copied: true } => {
                let count = self.in_place_run(first, end, host)?;
                let within = geometry.within(offset_bytes);
                let room = count * geometry.cluster_bytes() - within;
                if self.header.is_fixed(host, count * geometry.cluster_bytes()) {
                    return Err(
                        FormatError::damaged("a data cluster lies over the image's own tables").into()
                    );
                }
                Ok(WriteStep::InPlace { host_bytes: host + within, length_bytes: room.min(length_bytes) })
            }
            Mapping::Zero { host: Some((host, true)) } => {
                if self.header.is_fixed(host, geometry.cluster_bytes()) {
                    return Err(
                        FormatError::damaged("a data cluster lies over the image's own tables").into()
                    );
                }
                let (fresh, reused, zero_ends) = (false, true, (true, true));
                self.allocating.push(Run { first, count: 1 });
                let allocation =
                    Allocation { guest: first, count: 1, host_bytes: host, fresh, reused, zero_ends };
                Ok(WriteStep::Allocate(allocation))
            }
            _ => self.allocate_for(first, end),
        }
    }

    /// How many guest clusters from `first` on lie in a row from `host` on and can be written in place.
    fn in_place_run(&mut self, first: u64, end: u64, host: u64) -> io::Result<u64> {
        let mut count = 1;
        while first + count < end && !self.is_allocating(first + count) {
            let next = host + count * self.geometry.cluster_bytes();
            if self.mapping(first + count)? != (Mapping::Data { host: next, copied: true }) {
                break;
            }
            count += 1;
        }
        Ok(count)
    }

    /// New clusters for as many as possible of the guest's from `first` to `end`.
    fn allocate_for(&mut self, first: u64, end: u64) -> io::Result<WriteStep> {
        let mut wanted = 1;
        while first + wanted < end && !self.is_allocating(first + wanted) {
            let in_place = match self.mapping(first + wanted)? {
                Mapping::Data { copied, .. } => copied,
                Mapping::Zero { host: Some((_, copied)) } => copied,
                _ => false,
            };
            if in_place {
                break;
            }
            wanted += 1;
        }
        self.l2_for_writing(first)?;
        let (run, fresh) = self.allocate(wanted)?;
        let host_bytes = self.geometry.offset_of(run.first);
        let ends = [first, first + run.count - 1].map(|cluster| self.reads_as_zero(cluster));
        let [head, tail] = ends;
        self.allocating.push(Run { first, count: run.count });
        Ok(WriteStep::Allocate(Allocation {
            guest: first,
            count: run.count,
            host_bytes,
            fresh,
            reused: false,
            zero_ends: (head?, tail?),
        }))
    }

    /// The data is in its new place: from now on it is the guest's. Fails, if it does, before anything has
    /// changed: all the clusters have one L2 table, which was made ready and looked through at the begin.
    pub(crate) fn link(&mut self, allocation: &Allocation) -> io::Result<()> {
        let cluster_bytes = self.geometry.cluster_bytes();
        for index in 0..allocation.count {
            let entry = data_entry(allocation.host_bytes + index * cluster_bytes);
            let old = self.replace_entry(allocation.guest + index, entry)?;
            if !allocation.reused {
                self.free_mapping(old);
            }
        }
        self.done_allocating(allocation.guest);
        Ok(())
    }

    /// The data did not reach its new place.
    pub(crate) fn abandon(&mut self, allocation: &Allocation) -> io::Result<()> {
        self.done_allocating(allocation.guest);
        if allocation.reused {
            return Ok(());
        }
        let first = self.geometry.cluster_of(allocation.host_bytes);
        self.drop_references(Run { first, count: allocation.count })
    }

    /// Clears whole clusters from `first` on, as far as one L2 table goes: how many, or none when somebody is
    /// at the first.
    pub(crate) fn clear(&mut self, first: u64, count: u64, how: Clearing) -> io::Result<u64> {
        self.check_writable()?;
        let entries = self.geometry.l2_entries();
        let count = count.min(entries - first % entries);
        let has_table = self.l2_offset(first)?.is_some();
        if !has_table && !self.is_backed(first) {
            return Ok(count);
        }
        for cluster in first..first + count {
            if self.is_allocating(cluster) {
                return Ok(cluster - first);
            }
            let old = self.mapping(cluster)?;
            let Some(entry) = self.cleared_entry(cluster, old, how) else { continue };
            self.l2_for_writing(cluster)?;
            self.replace_entry(cluster, entry)?;
            if entry & OFFSET_MASK == 0 {
                self.free_mapping(old);
            }
        }
        Ok(count)
    }

    /// What the entry of a cluster becomes; `None` when it may stay.
    fn cleared_entry(&self, cluster: u64, old: Mapping, how: Clearing) -> Option<u64> {
        let flagged = self.header.version >= 3;
        let keep = how == (Clearing::Zero { keep: true });
        match old {
            Mapping::Data { host, copied: true } if keep && flagged => Some(host | COPIED | ZERO),
            Mapping::Unallocated if !self.is_backed(cluster) => None,
            Mapping::Zero { host: None } => None,
            Mapping::Zero { .. } if keep => None,
            // Below it the backing file would come to light.
            _ if self.is_backed(cluster) => flagged.then_some(ZERO),
            _ => Some(0),
        }
    }

    pub(super) fn is_allocating(&self, cluster: u64) -> bool {
        self.allocating.iter().any(|run| (run.first..run.first + run.count).contains(&cluster))
    }

    fn done_allocating(&mut self, guest: u64) {
        self.allocating.retain(|run| run.first != guest);
    }

    pub(super) fn check_writable(&self) -> io::Result<()> {
        if self.read_only {
            return Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "the disk is read-only"));
        }
        match &self.failed {
            Some(why) => Err(io::Error::other(why.clone())),
            None => Ok(()),
        }
    }

    /// Sees to it that the L2 table for a cluster is there, and this image's alone.
    fn l2_for_writing(&mut self, cluster: u64) -> io::Result<u64> {
        let index = self.geometry.l1_index(cluster);
        let old = self.l2_offset(cluster)?;
        if let Some(table) = old.filter(|_| self.l1[index] & COPIED != 0) {
            return Ok(table);
        }
        let contents = match old {
            Some(table) => self.tables.get(&*self.file, table, TableKind::L2)?.to_vec(),
            None => vec![0; self.geometry.cluster_bytes() as usize],
        };
        let (run, _) = self.allocate(1)?;
        let offset = self.geometry.offset_of(run.first);
        self.tables.insert_new(offset, TableKind::L2, contents);
        self.l1[index] = offset | COPIED;
        self.l1_dirty.insert(index);
        if let Some(table) = old {
            self.free_later(Run { first: self.geometry.cluster_of(table), count: 1 });
        }
        Ok(offset)
    }

    /// Puts an entry into an L2 table that can be written, and returns what it said before.
    pub(super) fn replace_entry(&mut self, cluster: u64, entry: u64) -> io::Result<Mapping> {
        let table = self.l2_for_writing(cluster)?;
        let index = self.geometry.l2_index(cluster);
        let old = table_entry(self.tables.get(&*self.file, table, TableKind::L2)?, index);
        let old = Mapping::decode(old, self.geometry, self.header.version)?;
        self.tables.set(table, index * 8, &entry.to_be_bytes());
        Ok(old)
    }

    pub(super) fn free_mapping(&mut self, old: Mapping) {
        if let Some((first, count)) = old.host_clusters(self.geometry) {
            self.free_later(Run { first, count });
        }
    }

    /// Drops a reference to each cluster once the file leads there no more.
    pub(super) fn free_later(&mut self, run: Run) {
        match self.freed.last_mut() {
            Some(last) if last.first + last.count == run.first => last.count += run.count,
            _ => self.freed.push(run),
        }
    }

    /// Says that the result of a look at the tables is in use, until [`unpin`](Owner::unpin).
    pub(crate) fn pin(&mut self) -> u64 {
        *self.pins.entry(self.generation).or_default() += 1;
        self.generation
    }

    pub(crate) fn unpin(&mut self, generation: u64) {
        if let Some(count) = self.pins.get_mut(&generation) {
            *count -= 1;
            if *count == 0 {
                self.pins.remove(&generation);
            }
        }
    }

    /// The oldest generation of which somebody uses something.
    pub(super) fn oldest_pin(&self) -> u64 {
        self.pins.keys().next().copied().unwrap_or(u64::MAX)
    }
}
