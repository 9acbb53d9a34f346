//! MSI-X (6.8.2): the capability, the table of vectors and the pending bits.
//!
//! ```text
//!            ┌ disabled: signals are dropped
//! function ──┼ masked:   signals set the pending bit
//!            └ open:     vector masked ─► pending bit; unmasked ─► message sent
//! ```
//!
//! A vector is routed in the interrupt controller exactly while it can send. A pending bit is delivered
//! as soon as its vector can.

use std::io;
use std::sync::{Arc, Mutex};

use device_model::{MsiController, MsiMessage, MsiVector, SnapshotError, lock, read_register};
use serde::{Deserialize, Serialize};
use tracing::debug;

use crate::ConfigSpace;
use crate::spec::{
    CAPABILITY_MSIX, MSIX_CONTROL, MSIX_ENABLE, MSIX_ENTRY_SIZE, MSIX_FUNCTION_MASK, MSIX_VECTOR_MASK,
};

/// Most vectors that a function can have (6.8.2.3).
pub const MAX_VECTORS: u16 = 2048;

/// A vector number that no function has.
pub const NO_SUCH_VECTOR: u16 = u16::MAX;

/// Where the table and the pending bits lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsixPlacement {
    /// Register index of the region that holds both.
    pub bar: u8,
    /// Offset of the table in the region, a multiple of 8.
    pub table_offset: u32,
    /// Offset of the pending bits in the region, a multiple of 8.
    pub pending_offset: u32,
}

/// A function's MSI-X as the guest sees it. Signalled through [`vectors`](Msix::vectors).
pub struct Msix {
    vectors: Arc<MsixVectors>,
    placement: MsixPlacement,
    capability: u16,
    access: FunctionAccess,
}

/// A function's vectors as its workers see them: shared, cheap to signal from any thread.
///
/// Lock order: a vector's lock is the last one taken; the interrupt controller is called with it held.
pub struct MsixVectors {
    entries: Box<[Mutex<Entry>]>,
}

/// Saved table and pending bits. Message control is part of configuration space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MsixState {
    entries: Vec<EntryState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct EntryState {
    address: u64,
    data: u32,
    masked: bool,
    pending: bool,
}

/// What message control says of the function as a whole (6.8.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FunctionAccess {
    Disabled,
    Masked,
    Open,
}

struct Entry {
    message: MsiMessage,
    masked: bool,
    pending: bool,
    access: FunctionAccess,
    routed: Option<MsiMessage>,
    vector: Arc<dyn MsiVector>,
}

impl Msix {
    /// Adds the capability for `count` vectors (1 to [`MAX_VECTORS`]) to `config`. Fails when the interrupt
    /// controller has no more vectors.
    pub fn new(
        config: &mut ConfigSpace,
        placement: MsixPlacement,
        count: u16,
        controller: &dyn MsiController,
    ) -> io::Result<Msix> {
        if !(1..=MAX_VECTORS).contains(&count) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a function has 1 to 2048 vectors"));
        }
        let entries = (0..count)
            .map(|_| Ok(Mutex::new(Entry::new(controller.allocate()?))))
            .collect::<io::Result<Box<[_]>>>()?;
        let bar = u32::from(placement.bar);
        let mut body = [0; 10];
        body[..2].copy_from_slice(&(count - 1).to_le_bytes());
        body[2..6].copy_from_slice(&(placement.table_offset | bar).to_le_bytes());
        body[6..].copy_from_slice(&(placement.pending_offset | bar).to_le_bytes());
        let mut writable = [0; 10];
        writable[..2].copy_from_slice(&(MSIX_ENABLE | MSIX_FUNCTION_MASK).to_le_bytes());
        let capability = config.add_capability(CAPABILITY_MSIX, &body, &writable);
        let vectors = Arc::new(MsixVectors { entries });
        Ok(Msix { vectors, placement, capability, access: FunctionAccess::Disabled })
    }

    /// The vectors, for whoever signals them.
    pub fn vectors(&self) -> Arc<MsixVectors> {
        Arc::clone(&self.vectors)
    }

    /// Whether the guest has MSI-X in use.
    pub fn is_enabled(&self) -> bool {
        self.access != FunctionAccess::Disabled
    }

    /// To be called after each write to `config`: follows message control.
    pub fn follow_control(&mut self, config: &ConfigSpace) {
        let control = config.read_u16(self.capability + MSIX_CONTROL as u16);
        let access = match (control & MSIX_ENABLE != 0, control & MSIX_FUNCTION_MASK != 0) {
            (false, _) => FunctionAccess::Disabled,
            (true, true) => FunctionAccess::Masked,
            (true, false) => FunctionAccess::Open,
        };
        if access != self.access {
            self.access = access;
            self.vectors.for_each(|entry| entry.set_access(access));
        }
    }

    /// The guest's read at `offset` of the region: `false` when neither table nor pending bits lie there.
    pub fn read(&self, offset: u64, data: &mut [u8]) -> bool {
        if let Some(offset) = within(offset, self.placement.table_offset, self.vectors.table_bytes()) {
            self.vectors.read_table(offset, data);
        } else if let Some(offset) =
            within(offset, self.placement.pending_offset, self.vectors.pending_bytes())
        {
            self.vectors.read_pending(offset, data);
        } else {
            return false;
        }
        true
    }

    /// The guest's write at `offset` of the region: `false` when neither table nor pending bits lie there.
    ///
    /// The table takes aligned accesses of 4 or 8 bytes (6.8.2); others are dropped, as are writes to the
    /// pending bits.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> bool {
        let Some(offset) = within(offset, self.placement.table_offset, self.vectors.table_bytes()) else {
            return within(offset, self.placement.pending_offset, self.vectors.pending_bytes()).is_some();
        };
        if matches!(data.len(), 4 | 8) && offset.is_multiple_of(data.len() as u64) {
            for (position, dword) in data.chunks_exact(4).enumerate() {
                let value = u32::from_le_bytes([dword[0], dword[1], dword[2], dword[3]]);
                self.vectors.write_table(offset + 4 * position as u64, value);
            }
        }
        true
    }

    /// Power-on state: all vectors masked and unrouted. Configuration space is reset by its owner.
    pub fn reset(&mut self) {
        self.access = FunctionAccess::Disabled;
        self.vectors.for_each(Entry::reset);
    }

    /// The state to carry elsewhere.
    pub fn save(&self) -> MsixState {
        let Self { vectors, placement: _, capability: _, access: _ } = self;
        MsixState { entries: vectors.entries.iter().map(|entry| lock(entry).save()).collect() }
    }

    /// Takes over saved state and the message control of `config`, which was restored before.
    pub fn restore(&mut self, state: &MsixState, config: &ConfigSpace) -> Result<(), SnapshotError> {
        let MsixState { entries } = state;
        if entries.len() != self.vectors.entries.len() {
            return Err(SnapshotError::Invalid("wrong number of interrupt vectors"));
        }
        self.reset();
        for (entry, saved) in self.vectors.entries.iter().zip(entries) {
            lock(entry).restore(*saved);
        }
        self.follow_control(config);
        Ok(())
    }
}

impl MsixVectors {
    /// Number of vectors.
    pub fn count(&self) -> u16 {
        self.entries.len() as u16
    }

    /// Interrupts the guest on `vector`, or notes that it has to be done when the guest unmasks it. Nothing
    /// happens for a vector that does not exist. Callable from any thread.
    pub fn signal(&self, vector: u16) {
        if let Some(entry) = self.entries.get(usize::from(vector)) {
            lock(entry).signal();
        }
    }

    fn for_each(&self, mut change: impl FnMut(&mut Entry)) {
        self.entries.iter().for_each(|entry| change(&mut lock(entry)));
    }

    fn table_bytes(&self) -> u64 {
        self.entries.len() as u64 * MSIX_ENTRY_SIZE
    }

    /// Pending bits come in groups of 64 (6.8.2.10).
    fn pending_bytes(&self) -> u64 {
        self.entries.len().div_ceil(64) as u64 * 8
    }

    fn read_table(&self, offset: u64, data: &mut [u8]) {
        // An access of up to 8 bytes touches at most two entries.
        let first = (offset / MSIX_ENTRY_SIZE) as usize;
        let mut registers = [0; 2 * MSIX_ENTRY_SIZE as usize];
        let halves = registers.chunks_exact_mut(MSIX_ENTRY_SIZE as usize);
        for (half, entry) in halves.zip(self.entries.iter().skip(first)) {
            half.copy_from_slice(&lock(entry).registers());
        }
        read_register(&registers, (offset % MSIX_ENTRY_SIZE) as usize, data);
    }

    fn write_table(&self, offset: u64, value: u32) {
        if let Some(entry) = self.entries.get((offset / MSIX_ENTRY_SIZE) as usize) {
            lock(entry).write(offset % MSIX_ENTRY_SIZE, value);
        }
    }

    fn read_pending(&self, offset: u64, data: &mut [u8]) {
        for (position, byte) in data.iter_mut().enumerate() {
            let first = (offset as usize + position) * 8;
            let entries = self.entries.iter().skip(first).take(8).enumerate();
            *byte = entries.fold(0, |bits, (bit, entry)| bits | u8::from(lock(entry).pending) << bit);
        }
    }
}

impl Entry {
    fn new(vector: Arc<dyn MsiVector>) -> Entry {
        Entry {
            message: MsiMessage { address: 0, data: 0 },
            masked: true,
            pending: false,
            access: FunctionAccess::Disabled,
            routed: None,
            vector,
        }
    }

    fn signal(&mut self) {
        match (self.access, self.routed) {
            (FunctionAccess::Disabled, _) => {}
            (_, None) => self.pending = true,
            (_, Some(_)) => self.vector.signal(),
        }
    }

    /// The entry's four registers (6.8.2.6).
    fn registers(&self) -> [u8; MSIX_ENTRY_SIZE as usize] {
        let mut registers = [0; MSIX_ENTRY_SIZE as usize];
        registers[..8].copy_from_slice(&self.message.address.to_le_bytes());
        registers[8..12].copy_from_slice(&self.message.data.to_le_bytes());
        registers[12..].copy_from_slice(&u32::from(self.masked).to_le_bytes());
        registers
    }

    fn write(&mut self, register: u64, value: u32) {
        let address = self.message.address;
        match register {
            // The two lowest bits of a message address are zero (6.8.2.7).
            0 => self.message.address = address & !0xffff_ffff | u64::from(value & !3),
            4 => self.message.address = address & 0xffff_ffff | u64::from(value) << 32,
            8 => self.message.data = value,
            _ => self.masked = value & MSIX_VECTOR_MASK != 0,
        }
        self.follow();
    }

    fn set_access(&mut self, access: FunctionAccess) {
        self.access = access;
        if access == FunctionAccess::Disabled {
            self.pending = false;
        }
        self.follow();
    }

    /// Routes the vector as its registers say, and delivers what was pending once it can be.
    fn follow(&mut self) {
        let can_send = self.access == FunctionAccess::Open && !self.masked;
        let route = can_send.then_some(self.message);
        if route != self.routed {
            if let Err(error) = self.vector.route(route) {
                debug!(%error, ?route, "interrupt vector cannot be routed");
            }
            self.routed = route;
        }
        if can_send && std::mem::take(&mut self.pending) {
            self.vector.signal();
        }
    }

    fn reset(&mut self) {
        self.restore(EntryState { address: 0, data: 0, masked: true, pending: false });
        self.set_access(FunctionAccess::Disabled);
    }

    fn save(&self) -> EntryState {
        let Self { message: MsiMessage { address, data }, masked, pending, access: _, routed: _, vector: _ } =
            self;
        EntryState { address: *address, data: *data, masked: *masked, pending: *pending }
    }

    fn restore(&mut self, state: EntryState) {
        let EntryState { address, data, masked, pending } = state;
        self.message = MsiMessage { address: address & !3, data };
        self.masked = masked;
        self.pending = pending;
    }
}

/// `offset` relative to `start`, if it lies in the `size` bytes from there.
fn within(offset: u64, start: u32, size: u64) -> Option<u64> {
    offset.checked_sub(u64::from(start)).filter(|offset| *offset < size)
}

#[cfg(test)]
mod tests;
