//! L2 tables and reference count blocks in memory.
//!
//! ```text
//! absent ──load──► clean ──set──► dirty ──taken by a commit──► clean, being written ──► clean
//!    ▲                │             ▲                              (never dropped)        │
//!    └────dropped─────┘             └──insert_new                                         │
//!    └────────────────────────────────────────dropped─────────────────────────────────────┘
//! ```
//!
//! What is changed stays here until a commit writes it, so that the order of writes is the commit's alone.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::error::FormatError;
use crate::image_file::{ImageFile, read_vec};

/// Bytes of tables that are kept, at least.
const CACHE_BYTES: usize = 8 << 20;
/// Tables that are kept, at least.
const CACHE_TABLES: usize = 8;
/// Bytes of changed tables from which on a commit is due.
const DIRTY_BYTES_MAX: usize = 4 << 20;
/// Writes of parts of tables begin and end at multiples of this, in bytes.
const WRITE_UNIT_BYTES: usize = 512;

/// What a table is. One that is read as both is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableKind {
    L2,
    Refcounts,
}

struct Table {
    kind: TableKind,
    data: Arc<Vec<u8>>,
    /// What is not in the file yet.
    dirty: Option<Range<usize>>,
    /// Nothing in the file leads here yet.
    unreferenced: bool,
    /// A commit is writing it.
    being_written: bool,
    last_used: u64,
}

/// The changes of one table, taken for a commit.
pub(super) struct TakenTable {
    pub(super) offset: u64,
    pub(super) kind: TableKind,
    pub(super) data: Arc<Vec<u8>>,
    pub(super) range: Range<usize>,
    pub(super) unreferenced: bool,
}

/// See the module. Tables are found by their offset in the file.
pub(super) struct Tables {
    tables: HashMap<u64, Table>,
    table_bytes: usize,
    dirty_tables: usize,
    clock: u64,
}

impl Tables {
    pub(super) fn new(table_bytes: u64) -> Tables {
        Tables { tables: HashMap::new(), table_bytes: table_bytes as usize, dirty_tables: 0, clock: 0 }
    }

    /// The table at `offset`, read if it is not here.
    pub(super) fn get(&mut self, file: &dyn ImageFile, offset: u64, kind: TableKind) -> io::Result<&[u8]> {
        if !self.tables.contains_key(&offset) {
            self.make_room();
            let data = Arc::new(read_vec(file, offset, self.table_bytes)?);
            let (dirty, unreferenced, being_written) = (None, false, false);
            let table = Table { kind, data, dirty, unreferenced, being_written, last_used: 0 };
            self.tables.insert(offset, table);
        }
        self.clock += 1;
        let table = self.tables.get_mut(&offset).expect("it was inserted above");
        if table.kind != kind {
            return Err(FormatError::damaged("a table is an L2 table and a reference count block").into());
        }
        table.last_used = self.clock;
        Ok(&table.data)
    }

    /// Whether [`get`](Tables::get) would not have to read.
    pub(super) fn has(&self, offset: u64) -> bool {
        self.tables.contains_key(&offset)
    }

    /// A table that is not in the file yet.
    pub(super) fn insert_new(&mut self, offset: u64, kind: TableKind, data: Vec<u8>) {
        self.make_room();
        self.forget(offset);
        let dirty = Some(0..data.len());
        let table = Table {
            kind,
            data: Arc::new(data),
            dirty,
            unreferenced: true,
            being_written: false,
            last_used: self.clock,
        };
        self.tables.insert(offset, table);
        self.dirty_tables += 1;
    }

    /// Changes a table that [`get`](Tables::get) has just returned.
    pub(super) fn set(&mut self, offset: u64, at: usize, bytes: &[u8]) {
        let table = self.tables.get_mut(&offset).expect("the caller has just looked at it");
        Arc::make_mut(&mut table.data)[at..at + bytes.len()].copy_from_slice(bytes);
        if table.dirty.is_none() {
            self.dirty_tables += 1;
        }
        table.dirty = Some(union(table.dirty.take(), at..at + bytes.len()));
    }

    /// Drops the table of a cluster that becomes something else.
    pub(super) fn forget(&mut self, offset: u64) {
        if self.tables.remove(&offset).is_some_and(|table| table.dirty.is_some()) {
            self.dirty_tables -= 1;
        }
    }

    pub(super) fn has_dirty(&self) -> bool {
        self.dirty_tables > 0
    }

    /// Whether so much is changed that it should be written.
    pub(super) fn is_commit_due(&self) -> bool {
        self.dirty_tables * self.table_bytes > DIRTY_BYTES_MAX.max(CACHE_TABLES / 2 * self.table_bytes)
    }

    /// Hands over all changes.
    pub(super) fn take_dirty(&mut self) -> Vec<TakenTable> {
        let mut taken = Vec::with_capacity(self.dirty_tables);
        for (offset, table) in &mut self.tables {
            let Some(dirty) = table.dirty.take() else { continue };
            table.being_written = true;
            let start = dirty.start / WRITE_UNIT_BYTES * WRITE_UNIT_BYTES;
            let end = dirty.end.next_multiple_of(WRITE_UNIT_BYTES).min(table.data.len());
            let unreferenced = std::mem::take(&mut table.unreferenced);
            taken.push(TakenTable {
                offset: *offset,
                kind: table.kind,
                data: Arc::clone(&table.data),
                range: start..end,
                unreferenced,
            });
        }
        self.dirty_tables = 0;
        // Ascending: a disk likes it, and tests find the same order each time.
        taken.sort_unstable_by_key(|table| table.offset);
        taken
    }

    /// The changes are in the file.
    pub(super) fn written(&mut self, taken: &[TakenTable]) {
        for TakenTable { offset, .. } in taken {
            if let Some(table) = self.tables.get_mut(offset) {
                table.being_written = false;
            }
        }
    }

    /// The changes are not in the file after all, and nothing leads to them.
    pub(super) fn put_back(&mut self, taken: &[TakenTable]) {
        for TakenTable { offset, range, unreferenced, .. } in taken {
            let Some(table) = self.tables.get_mut(offset) else { continue };
            table.being_written = false;
            table.unreferenced |= unreferenced;
            if table.dirty.is_none() {
                self.dirty_tables += 1;
            }
            table.dirty = Some(union(table.dirty.take(), range.clone()));
        }
    }

    /// Drops what was not used for long, where there is more than enough.
    fn make_room(&mut self) {
        let limit = (CACHE_BYTES / self.table_bytes).max(CACHE_TABLES);
        if self.tables.len() < limit {
            return;
        }
        let idle = |table: &Table| table.dirty.is_none() && !table.being_written;
        let mut ages: Vec<u64> =
            self.tables.values().filter(|table| idle(table)).map(|table| table.last_used).collect();
        ages.sort_unstable();
        if let Some(median) = ages.get(ages.len() / 2).copied() {
            self.tables.retain(|_, table| !idle(table) || table.last_used > median);
        }
    }
}

fn union(old: Option<Range<usize>>, new: Range<usize>) -> Range<usize> {
    match old {
        None => new,
        Some(old) => old.start.min(new.start)..old.end.max(new.end),
    }
}
