//! A file in memory that knows what would be left of it if the power went now.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use guest_memory::IoBuffers;

use super::random::Random;
use crate::image_file::{ImageFile, fill_with_zeros};

/// What no disk tears apart, in bytes.
const SECTOR_BYTES: usize = 512;

/// What is left of the writes since the last sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// All of them.
    Kept,
    /// None of them.
    Lost,
    /// Some sectors of some of them.
    Torn,
}

/// A change since the last sync.
enum Change {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

#[derive(Default)]
struct State {
    durable: Vec<u8>,
    now: Vec<u8>,
    pending: Vec<Change>,
    /// Changes and syncs so far.
    steps: u64,
    /// The step from which on everything fails.
    fails_from: u64,
}

/// See the module.
pub(super) struct MemoryFile(Mutex<State>);

impl MemoryFile {
    pub(super) fn new(contents: Vec<u8>) -> MemoryFile {
        let durable = contents.clone();
        let fails_from = u64::MAX;
        MemoryFile(Mutex::new(State { durable, now: contents, fails_from, ..State::default() }))
    }

    /// What is left of the file.
    pub(super) fn cut(&self, how: Cut, random: &mut Random) -> Vec<u8> {
        let state = self.lock();
        let mut left = state.durable.clone();
        for change in &state.pending {
            match (how, change) {
                (Cut::Lost, _) => {}
                (Cut::Kept, change) => change.apply(&mut left),
                (Cut::Torn, Change::Length(_)) => {
                    if random.below(2) == 0 {
                        change.apply(&mut left);
                    }
                }
                (Cut::Torn, Change::Bytes(offset, data)) => tear(&mut left, *offset, data, random),
            }
        }
        left
    }

    pub(super) fn contents(&self) -> Vec<u8> {
        self.lock().now.clone()
    }

    /// Lets everything fail after so many more changes and syncs.
    pub(super) fn fail_after(&self, steps: u64) {
        let mut state = self.lock();
        state.fails_from = state.steps.saturating_add(steps);
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut state = self.step()?;
        change.apply(&mut state.now);
        state.pending.push(change);
        Ok(())
    }

    fn step(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        if state.steps >= state.fails_from {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        state.steps += 1;
        Ok(state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Change::Bytes(offset, data) => put(to, *offset, data),
            Change::Length(length) => to.resize(*length, 0),
        }
    }
}

fn put(to: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if to.len() < offset + data.len() {
        to.resize(offset + data.len(), 0);
    }
    to[offset..offset + data.len()].copy_from_slice(data);
}

/// Writes some sectors of `data`.
fn tear(to: &mut Vec<u8>, offset: usize, data: &[u8], random: &mut Random) {
    let mut at = 0;
    while at < data.len() {
        let next = ((offset + at) / SECTOR_BYTES + 1) * SECTOR_BYTES - offset;
        let end = next.min(data.len());
        if random.below(2) == 0 {
            put(to, offset + at, &data[at..end]);
        }
        at = end;
    }
}

impl ImageFile for MemoryFile {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.lock().now.len() as u64)
    }

    fn read(&self, buffers: IoBuffers, offset_bytes: u64) -> io::Result<()> {
        let state = self.lock();
        let start = usize::try_from(offset_bytes).unwrap_or(usize::MAX).min(state.now.len());
        let done = buffers.fill_from(&state.now[start..(start + buffers.len_bytes()).min(state.now.len())]);
        fill_with_zeros(&buffers.slice(done, usize::MAX));
        Ok(())
    }

    fn write(&self, buffers: IoBuffers, offset_bytes: u64) -> io::Result<()> {
        self.change(Change::Bytes(offset_bytes as usize, buffers.to_vec(usize::MAX)))
    }

    fn write_zeroes(&self, offset_bytes: u64, length_bytes: u64, _may_unmap: bool) -> io::Result<()> {
        self.change(Change::Bytes(offset_bytes as usize, vec![0; length_bytes as usize]))
    }

    fn set_len(&self, length_bytes: u64) -> io::Result<()> {
        self.change(Change::Length(length_bytes as usize))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.step()?;
        let State { durable, pending, .. } = &mut *state;
        for change in pending.drain(..) {
            change.apply(durable);
        }
        Ok(())
    }
}
