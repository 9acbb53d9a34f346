//! Counting who refers to which host cluster, by following every way from the header.

use std::io;

use super::entry::Mapping;
use super::geometry::Geometry;
use super::header::Header;
use super::spec::*;
use crate::error::FormatError;
use crate::image_file::{ImageFile, read_vec};

/// Most clusters of a file whose references are counted; each takes four bytes of memory.
const CLUSTERS_MAX: u64 = 1 << 28;
/// Most clusters behind the end of a file that are told of.
const CLUSTERS_BEHIND_MAX: usize = 1 << 20;
/// Complaints that are kept in words.
const COMPLAINTS_MAX: usize = 20;

/// What was found on the way.
pub(super) struct Survey<'a> {
    file: &'a dyn ImageFile,
    header: &'a Header,
    geometry: Geometry,
    /// References to each cluster of the file; stays at its end.
    pub(super) references: Vec<u16>,
    pub(super) findings: Findings,
    /// Entries of the disk's own tables that say whether they are alone: the cluster, and what they say.
    pub(super) copied: Vec<(u64, bool)>,
}

/// Numbers, and the first few complaints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    pub(super) corruptions: u64,
    pub(super) complaints: Vec<String>,
    pub(super) data_clusters: u64,
    pub(super) compressed_clusters: u64,
}

impl Findings {
    pub(super) fn corruption(&mut self, what: String) {
        self.corruptions += 1;
        self.complain(what);
    }

    pub(super) fn complain(&mut self, what: String) {
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(what);
        }
    }
}

/// One of the tables that lead to L2 tables.
struct Root {
    offset: u64,
    entries: u32,
    /// The disk's own, rather than a snapshot's.
    active: bool,
}

impl<'a> Survey<'a> {
    /// Follows all ways in `file`.
    ///
    /// # Errors
    /// The file cannot be read, or has more clusters than are counted. What is wrong inside is a finding.
    pub(super) fn take(file: &'a dyn ImageFile, header: &'a Header) -> Result<Survey<'a>, FormatError> {
        let geometry = header.geometry;
        let clusters = geometry.clusters_for(file.len_bytes()?);
        if clusters > CLUSTERS_MAX {
            return Err(FormatError::unsupported("checking an image of so many clusters"));
        }
        let references = vec![0; clusters as usize];
        let (findings, copied) = (Findings::default(), Vec::new());
        let mut survey = Survey { file, header, geometry, references, findings, copied };
        survey.count("the header", 0, geometry.cluster_bytes());
        survey.count_refcounts()?;
        survey.count_root(&Root { offset: header.l1_offset, entries: header.l1_entries, active: true })?;
        survey.count_snapshots()?;
        Ok(survey)
    }

    /// One reference to each cluster that a range touches.
    fn count(&mut self, what: &str, offset_bytes: u64, length_bytes: u64) {
        if length_bytes == 0 {
            return;
        }
        let first = self.geometry.cluster_of(offset_bytes);
        let last = self.geometry.cluster_of(offset_bytes.saturating_add(length_bytes - 1));
        if last >= self.references.len() as u64 {
            self.findings.corruption(format!("{what} at {offset_bytes:#x} lies beyond the end of the file"));
            return;
        }
        for cluster in first..=last {
            let count = &mut self.references[cluster as usize];
            *count = count.saturating_add(1);
        }
    }

    fn count_refcounts(&mut self) -> Result<(), FormatError> {
        let cluster_bytes = self.geometry.cluster_bytes();
        let (offset, clusters) = (self.header.reftable_offset, u64::from(self.header.reftable_clusters));
        self.count("the reference count table", offset, clusters * cluster_bytes);
        let table = read_vec(self.file, offset, (clusters * cluster_bytes) as usize)?;
        for index in 0..table.len() / 8 {
            let block = table_entry(&table, index) & REFTABLE_OFFSET_MASK;
            if !self.geometry.is_aligned(block) {
                self.findings
                    .corruption(format!("a reference count block begins at {block:#x}, inside a cluster"));
            } else if block != 0 {
                self.count("a reference count block", block, cluster_bytes);
            }
        }
        Ok(())
    }

    fn count_root(&mut self, root: &Root) -> Result<(), FormatError> {
        let bytes = u64::from(root.entries) * 8;
        self.count("an L1 table", root.offset, bytes);
        if bytes > L1_BYTES_MAX || !self.geometry.is_aligned(root.offset) {
            self.findings.corruption("an L1 table is at an impossible place or too long".to_owned());
            return Ok(());
        }
        let table = read_vec(self.file, root.offset, bytes as usize)?;
        for index in 0..root.entries as usize {
            let entry = table_entry(&table, index);
            let offset = entry & OFFSET_MASK;
            if offset == 0 {
                continue;
            }
            let before = self.findings.corruptions;
            if !self.geometry.is_aligned(offset) {
                self.findings.corruption(format!("an L2 table begins at {offset:#x}, inside a cluster"));
                continue;
            }
            self.count("an L2 table", offset, self.geometry.cluster_bytes());
            if self.findings.corruptions == before {
                if root.active {
                    self.copied.push((self.geometry.cluster_of(offset), entry & COPIED != 0));
                }
                self.count_l2(offset, root.active)?;
            }
        }
        Ok(())
    }

    fn count_l2(&mut self, offset: u64, active: bool) -> Result<(), FormatError> {
        let table = read_vec(self.file, offset, self.geometry.cluster_bytes() as usize)?;
        for index in 0..self.geometry.l2_entries() as usize {
            let entry = table_entry(&table, index);
            match Mapping::decode(entry, self.geometry, self.header.version) {
                Ok(mapping) => self.count_mapping(mapping, active),
                Err(error) => {
                    self.findings.corruption(format!("{error} (L2 table at {offset:#x}, entry {index})"));
                }
            }
        }
        Ok(())
    }

    fn count_mapping(&mut self, mapping: Mapping, active: bool) {
        let cluster_bytes = self.geometry.cluster_bytes();
        match mapping {
            Mapping::Unallocated | Mapping::Zero { host: None } => {}
            Mapping::Data { host, copied } | Mapping::Zero { host: Some((host, copied)) } => {
                self.count("a data cluster", host, cluster_bytes);
                if active {
                    self.findings.data_clusters += 1;
                    self.copied.push((self.geometry.cluster_of(host), copied));
                }
            }
            Mapping::Compressed(range) => {
                // Counted in whole sectors, of which the last may be behind a file that is cut there.
                let file_end = self.references.len() as u64 * cluster_bytes;
                let length = range.length_bytes.min(file_end.saturating_sub(range.offset_bytes));
                self.count("a compressed cluster", range.offset_bytes, length.max(1));
                if active {
                    self.findings.compressed_clusters += 1;
                }
            }
        }
    }

    /// The snapshot table, and what each snapshot's own L1 table leads to (Snapshots).
    fn count_snapshots(&mut self) -> Result<(), FormatError> {
        let mut at = self.header.snapshots_offset;
        for _ in 0..self.header.snapshots {
            let entry = read_vec(self.file, at, SNAPSHOT_ENTRY_BYTES)?;
            let word = |field: std::ops::Range<usize>| {
                u64::from(entry[field.start]) << 8 | u64::from(entry[field.start + 1])
            };
            let extra = u64::from(get_u32(&entry, SNAPSHOT_EXTRA_LENGTH));
            let names = word(SNAPSHOT_ID_LENGTH) + word(SNAPSHOT_NAME_LENGTH);
            let root = Root {
                offset: get_u64(&entry, SNAPSHOT_L1_OFFSET),
                entries: get_u32(&entry, SNAPSHOT_L1_ENTRIES),
                active: false,
            };
            self.count_root(&root)?;
            at += (SNAPSHOT_ENTRY_BYTES as u64 + extra + names).next_multiple_of(8);
            if at - self.header.snapshots_offset > SNAPSHOT_TABLE_BYTES_MAX {
                return Err(FormatError::damaged("the snapshot table is longer than 64 MiB"));
            }
        }
        if self.header.snapshots > 0 {
            self.count("the snapshot table", self.header.snapshots_offset, at - self.header.snapshots_offset);
        }
        Ok(())
    }
}

/// The count that the file itself holds for each of its clusters; a count beyond 65535 stays there.
pub(super) fn counts_on_disk(file: &dyn ImageFile, header: &Header, clusters: usize) -> io::Result<Vec<u16>> {
    let geometry = header.geometry;
    let mut counts = vec![0; clusters];
    let table_bytes = u64::from(header.reftable_clusters) * geometry.cluster_bytes();
    let table = read_vec(file, header.reftable_offset, table_bytes as usize)?;
    let per_block = geometry.refcounts_per_block() as usize;
    for (index, part) in counts.chunks_mut(per_block).enumerate().take(table.len() / 8) {
        let block = table_entry(&table, index) & REFTABLE_OFFSET_MASK;
        if block == 0 || !geometry.is_aligned(block) {
            continue;
        }
        let data = read_vec(file, block, geometry.cluster_bytes() as usize)?;
        for (index, count) in part.iter_mut().enumerate() {
            let value = super::refcounts::refcount_in(&data, index, geometry.refcount_order);
            *count = u16::try_from(value).unwrap_or(u16::MAX);
        }
    }
    Ok(counts)
}

/// Clusters behind the end of the file that are counted as in use all the same.
///
/// No more blocks are looked at than the file has clusters: more would have to be the same ones again.
pub(super) fn counted_behind(file: &dyn ImageFile, header: &Header, clusters: usize) -> io::Result<Vec<u64>> {
    let geometry = header.geometry;
    let table_bytes = u64::from(header.reftable_clusters) * geometry.cluster_bytes();
    let table = read_vec(file, header.reftable_offset, table_bytes as usize)?;
    let per_block = geometry.refcounts_per_block() as usize;
    let mut found = Vec::new();
    let blocks = (clusters / per_block..table.len() / 8)
        .map(|index| (index, table_entry(&table, index) & REFTABLE_OFFSET_MASK))
        .filter(|(_, block)| *block != 0 && geometry.is_aligned(*block));
    for (index, block) in blocks.take(clusters) {
        let data = read_vec(file, block, geometry.cluster_bytes() as usize)?;
        let counted = (0..per_block)
            .filter(|at| super::refcounts::refcount_in(&data, *at, geometry.refcount_order) > 0)
            .map(|at| (index * per_block + at) as u64);
        found.extend(counted.filter(|cluster| *cluster >= clusters as u64).take(CLUSTERS_BEHIND_MAX));
        found.truncate(CLUSTERS_BEHIND_MAX);
    }
    Ok(found)
}
