//! Bringing the metadata in memory to the file, so that the power may go at any moment.
//!
//! ```text
//! lock: take all changes ─ unlock
//!   1  tables that nothing leads to yet, reference counts          ─ sync ─┐ the guest's data is synced here, too
//!   2  ways to new reference count blocks                          ─ sync  │
//!   3  ways to new data and L2 tables; ways to freed clusters end  ─ sync  │
//! lock: drop the references of what was freed                              │
//! ```
//!
//! Whatever part of a step reaches the disk when the power goes, everything that can be found from the header
//! is counted, and its contents are there; what is counted without being found is lost room, and no more.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use guest_memory::IoBuffers;

use super::owner::Owner;
use super::refcounts::Run;
use super::spec::{
    INCOMPATIBLE, L1_ENTRIES, L1_OFFSET, REFTABLE_CLUSTERS, REFTABLE_OFFSET, SIZE, V3_HEADER_BYTES,
    table_bytes,
};
use super::tables::{TableKind, TakenTable};
use crate::image_file::ImageFile;

/// Unit in which tables of offsets are written, in bytes: no disk tears it apart.
const SECTOR_BYTES: usize = 512;
/// Shortest hole worth making, in bytes.
const HOLE_BYTES_MIN: u64 = 4096;

/// Who is committing, and up to where it was done.
#[derive(Default)]
pub(crate) struct Commits {
    /// Commits that have begun.
    pub(super) begun: u64,
    /// The last of them that succeeded.
    pub(super) succeeded: u64,
    pub(super) running: bool,
}

/// Changes on their way to the file.
pub(super) struct Batch {
    steps: [Vec<Write>; 3],
    tables: Vec<TakenTable>,
    l1_dirty: BTreeSet<usize>,
    l1_moved: bool,
    reftable_dirty: BTreeSet<usize>,
    reftable_moved: bool,
    header_changed: bool,
    /// The header as it will stand in the file.
    header_raw: Vec<u8>,
    freed: Vec<Run>,
}

struct Write {
    offset_bytes: u64,
    data: Arc<Vec<u8>>,
    range: Range<usize>,
}

/// Why a commit did not come to its end.
pub(super) struct Failure {
    /// The file leads to nothing new yet: it can be tried again.
    pub(super) again: bool,
    pub(super) error: io::Error,
}

impl Owner {
    /// Takes all changes. They count as written, until [`put_back`](Owner::put_back).
    pub(super) fn take_changes(&mut self) -> Batch {
        let mut batch = Batch {
            steps: Default::default(),
            tables: self.tables.take_dirty(),
            l1_dirty: std::mem::take(&mut self.l1_dirty),
            l1_moved: std::mem::take(&mut self.l1_moved),
            reftable_dirty: std::mem::take(&mut self.reftable_dirty),
            reftable_moved: std::mem::take(&mut self.reftable_moved),
            header_changed: std::mem::take(&mut self.header_changed),
            header_raw: self.header.raw.clone(),
            freed: std::mem::take(&mut self.freed),
        };
        for table in &batch.tables {
            let early = table.unreferenced || table.kind == TableKind::Refcounts;
            batch.steps[if early { 0 } else { 2 }].push(Write {
                offset_bytes: table.offset,
                data: Arc::clone(&table.data),
                range: table.range.clone(),
            });
        }
        self.plan_reftable(&mut batch);
        self.plan_l1(&mut batch);
        batch
    }

    /// The reference count table: whole at a new place, then the header; or its entries.
    fn plan_reftable(&self, batch: &mut Batch) {
        let offset = self.header.reftable_offset;
        if !batch.reftable_moved {
            batch.steps[1].extend(sectors(offset, &self.reftable, &batch.reftable_dirty));
            return;
        }
        batch.steps[0].push(Write::whole(offset, table_bytes(&self.reftable)));
        batch.header_raw[REFTABLE_OFFSET].copy_from_slice(&offset.to_be_bytes());
        batch.header_raw[REFTABLE_CLUSTERS].copy_from_slice(&self.header.reftable_clusters.to_be_bytes());
        batch.steps[1].push(Write::whole(0, batch.header_raw.clone()));
    }

    /// The L1 table: whole at a new place, then the header; or its entries.
    fn plan_l1(&self, batch: &mut Batch) {
        let offset = self.header.l1_offset;
        if batch.l1_moved {
            batch.steps[0].push(Write::whole(offset, table_bytes(&self.l1)));
            batch.header_raw[L1_OFFSET].copy_from_slice(&offset.to_be_bytes());
            batch.header_raw[L1_ENTRIES].copy_from_slice(&self.header.l1_entries.to_be_bytes());
        } else {
            batch.steps[2].extend(sectors(offset, &self.l1, &batch.l1_dirty));
        }
        if batch.l1_moved || batch.header_changed {
            batch.header_raw[SIZE].copy_from_slice(&self.header.size_bytes.to_be_bytes());
            if batch.header_raw.len() >= V3_HEADER_BYTES {
                let features = [self.header.incompatible, self.header.compatible, self.header.autoclear];
                let bytes = table_bytes(&features);
                batch.header_raw[INCOMPATIBLE.start..][..bytes.len()].copy_from_slice(&bytes);
            }
            batch.steps[2].push(Write::whole(0, batch.header_raw.clone()));
        }
    }

    /// The changes are in the file: what they freed can be used once nobody is at it.
    pub(super) fn finish_commit(&mut self, batch: Batch) -> io::Result<()> {
        self.tables.written(&batch.tables);
        self.header.raw = batch.header_raw;
        let generation = self.generation;
        self.unlinked.extend(batch.freed.into_iter().map(|run| (generation, run)));
        self.generation += 1;
        self.release_unlinked()
    }

    /// Drops the references of unlinked clusters that nobody can be at any more.
    fn release_unlinked(&mut self) -> io::Result<()> {
        let oldest = self.oldest_pin();
        let (free, kept) =
            std::mem::take(&mut self.unlinked).into_iter().partition(|(last, _)| *last < oldest);
        self.unlinked = kept;
        let free: Vec<(u64, Run)> = free;
        self.packing = self.packing.filter(|_| free.is_empty());
        for (_, run) in &free {
            self.drop_references(*run)?;
        }
        for (_, run) in free {
            self.punch_hole(run)?;
        }
        Ok(())
    }

    /// Gives the room of a run back to the host, if nothing refers to any of it.
    fn punch_hole(&mut self, run: Run) -> io::Result<()> {
        let length_bytes = run.count * self.geometry.cluster_bytes();
        for cluster in run.first..run.first + run.count {
            if self.refcount(cluster)? != 0 {
                return Ok(());
            }
        }
        if length_bytes >= HOLE_BYTES_MIN {
            let offset_bytes = self.geometry.offset_of(run.first);
            if let Err(error) = self.file.write_zeroes(offset_bytes, length_bytes, true) {
                // Lost room on the host is no failure of the disk.
                tracing::debug!(%error, offset_bytes, "no hole could be made in the image");
            }
        }
        Ok(())
    }

    /// A commit has failed. Where the file leads to nothing new yet, its changes wait for the next one;
    /// otherwise nobody knows what the file holds, and nothing is written any more.
    pub(super) fn put_back(&mut self, batch: Batch, failure: &Failure) {
        if !failure.again {
            self.failed =
                Some(format!("the image takes no more writes since one has failed: {}", failure.error));
        }
        self.tables.put_back(&batch.tables);
        self.l1_dirty.extend(batch.l1_dirty);
        self.l1_moved |= batch.l1_moved;
        self.reftable_dirty.extend(batch.reftable_dirty);
        self.reftable_moved |= batch.reftable_moved;
        self.header_changed |= batch.header_changed;
        self.freed.extend(batch.freed);
    }

    /// Whether a commit would change the file.
    pub(super) fn has_changes(&self) -> bool {
        self.tables.has_dirty()
            || self.header_changed
            || !self.l1_dirty.is_empty()
            || self.l1_moved
            || !self.reftable_dirty.is_empty()
            || self.reftable_moved
            || !self.freed.is_empty()
    }
}

impl Batch {
    /// Writes everything, in order. Blocks.
    pub(super) fn write_to(&self, file: &dyn ImageFile) -> Result<(), Failure> {
        let [first, second, third] = &self.steps;
        let retry = |error| Failure { again: true, error };
        let give_up = |error| Failure { again: false, error };
        write_all(file, first).map_err(retry)?;
        // What a failed sync has left of the writes before it, no later one brings back.
        file.sync().map_err(give_up)?;
        for step in [second, third] {
            if !step.is_empty() {
                write_all(file, step).map_err(give_up)?;
                file.sync().map_err(give_up)?;
            }
        }
        Ok(())
    }
}

impl Write {
    fn whole(offset_bytes: u64, data: Vec<u8>) -> Write {
        let range = 0..data.len();
        Write { offset_bytes, data: Arc::new(data), range }
    }
}

fn write_all(file: &dyn ImageFile, writes: &[Write]) -> io::Result<()> {
    for Write { offset_bytes, data, range } in writes {
        let buffers = IoBuffers::from_vec(data[range.clone()].to_vec());
        file.write(buffers, offset_bytes + range.start as u64)?;
    }
    Ok(())
}

/// The sectors of a table of offsets in which there are changed entries.
fn sectors(table_offset: u64, table: &[u64], dirty: &BTreeSet<usize>) -> Vec<Write> {
    const ENTRIES: usize = SECTOR_BYTES / 8;
    let numbers: BTreeSet<usize> = dirty.iter().map(|index| index / ENTRIES).collect();
    let sector = |number: usize| {
        let entries = &table[number * ENTRIES..((number + 1) * ENTRIES).min(table.len())];
        Write::whole(table_offset + (number * SECTOR_BYTES) as u64, table_bytes(entries))
    };
    numbers.into_iter().map(sector).collect()
}
