//! The PCI root: which function sits in which slot, where its regions are mapped, and who gets an access.

mod assign;
mod config_access;
mod host_bridge;
mod routes;
mod window;

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use device_model::{BarRegion, Device, PciFunction, Saved, Shared, Snapshot, SnapshotError, lock, shared};
use serde::{Deserialize, Serialize};

use crate::ConfigSpaceState;
use host_bridge::HostBridge;
use routes::{Route, Routes};

pub use assign::AssignError;

/// Slots of a bus (3.2.2.3.2).
const SLOT_COUNT: u8 = 32;

/// A device number on bus 0, from 0 to 31. Slot 0 holds the host bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u8);

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00:{:02x}.0", self.0)
    }
}

/// A range of guest-physical addresses that the host bridge forwards to the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First guest-physical address.
    pub base: u64,
    /// Length in bytes.
    pub size_bytes: u64,
}

impl Window {
    /// Whether all `size_bytes` from `address` lie inside.
    fn holds(&self, address: u64, size_bytes: u64) -> bool {
        address
            .checked_sub(self.base)
            .is_some_and(|offset| size_bytes <= self.size_bytes && offset <= self.size_bytes - size_bytes)
    }
}

/// The windows for memory regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Below 4 GiB, for 32-bit regions.
    pub memory32: Window,
    /// Anywhere, for 64-bit regions.
    pub memory64: Window,
}

/// A function could not be put on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    /// Slots are 0 to 31.
    #[error("there is no PCI slot {0}")]
    NoSuchSlot(Slot),
    /// Something is there already.
    #[error("PCI slot {0} is taken")]
    Taken(Slot),
}

/// Bus 0 and its host bridge. Clones share the bus.
///
/// All accesses take `&self`, and several vCPUs may be in here at once. Lock order: first a function's lock,
/// then the root's table, which is a leaf: it is held for look-ups and updates only, never while a function
/// is called. A function may be blocked in its own lock by a worker without stopping the others.
///
/// The table of routes is what the root told functions with `bar_moved` last. It follows each
/// configuration write; [`follow_all`](PciRoot::follow_all) brings it up to date after functions changed
/// without one (reset, restore).
#[derive(Clone)]
pub struct PciRoot {
    bus: Arc<Bus>,
}

struct Bus {
    windows: Windows,
    config_address: AtomicU32,
    bridge: Shared<HostBridge>,
    table: RwLock<Table>,
}

#[derive(Default)]
struct Table {
    functions: Vec<Attached>,
    routes: Routes,
}

#[derive(Clone)]
struct Attached {
    slot: Slot,
    function: Shared<dyn PciFunction>,
    bars: Arc<[BarRegion]>,
}

impl PciRoot {
    /// A bus with nothing but the host bridge, which forwards `windows`.
    pub fn new(windows: Windows) -> PciRoot {
        let bridge = shared(HostBridge::new());
        let host_bridge = Attached { slot: Slot(0), function: bridge.clone(), bars: Arc::new([]) };
        let table = RwLock::new(Table { functions: vec![host_bridge], routes: Routes::default() });
        PciRoot { bus: Arc::new(Bus { windows, config_address: AtomicU32::new(0), bridge, table }) }
    }

    /// Puts `function` into `slot`.
    pub fn attach(&self, slot: Slot, function: Shared<dyn PciFunction>) -> Result<(), AttachError> {
        if slot.0 >= SLOT_COUNT {
            return Err(AttachError::NoSuchSlot(slot));
        }
        let bars = lock(&function).bars().into();
        let mut table = self.write_table();
        match table.functions.binary_search_by_key(&slot, |attached| attached.slot) {
            Ok(_) => Err(AttachError::Taken(slot)),
            Err(position) => {
                table.functions.insert(position, Attached { slot, function, bars });
                Ok(())
            }
        }
    }

    /// Takes the function out of `slot`; nobody reaches it any more. `None` if the slot is empty or the host bridge's.
    pub fn detach(&self, slot: Slot) -> Option<Shared<dyn PciFunction>> {
        let attached = self.function(slot).filter(|_| slot != Slot(0))?;
        // Held throughout: whoever is about to write to the function's registers finds it gone, or is done.
        let mut function = lock(&attached.function);
        let mut table = self.write_table();
        table.functions.retain(|other| !Arc::ptr_eq(&other.function, &attached.function));
        let mapped = attached.bars.iter().filter(|bar| table.routes.address(slot, bar.index).is_some());
        let mapped: Vec<u8> = mapped.map(|bar| bar.index).collect();
        mapped.iter().for_each(|bar| table.routes.set(slot, *bar, None));
        drop(table);
        mapped.iter().for_each(|bar| function.bar_moved(*bar, None));
        drop(function);
        Some(attached.function)
    }

    /// The windows that the host bridge forwards.
    pub fn windows(&self) -> Windows {
        self.bus.windows
    }

    /// Brings routes and doorbells in line with where the functions say that their regions are. To be called
    /// after functions were reset or restored.
    pub fn follow_all(&self) {
        for attached in self.attached() {
            let mut function = lock(&attached.function);
            self.follow(&attached, &mut *function);
        }
    }

    /// Compares where the regions of a function are with where they were, and tells the function what moved.
    /// The caller holds the function's lock.
    fn follow(&self, attached: &Attached, function: &mut dyn PciFunction) {
        let is_there = |found: Attached| Arc::ptr_eq(&found.function, &attached.function);
        if !self.function(attached.slot).is_some_and(is_there) {
            return;
        }
        for bar in attached.bars.iter() {
            let address = function
                .bar_address(bar.index)
                .filter(|address| self.bus.windows.forward(*address, bar.size_bytes));
            let before = self.read_table().routes.address(attached.slot, bar.index);
            if address == before {
                continue;
            }
            let route = address.map(|address| Route {
                slot: attached.slot,
                bar: bar.index,
                address,
                size_bytes: bar.size_bytes,
            });
            self.write_table().routes.set(attached.slot, bar.index, route);
            function.bar_moved(bar.index, address);
        }
    }

    fn attached(&self) -> Vec<Attached> {
        self.read_table().functions.clone()
    }

    fn function(&self, slot: Slot) -> Option<Attached> {
        let table = self.read_table();
        let position = table.functions.binary_search_by_key(&slot, |attached| attached.slot).ok()?;
        table.functions.get(position).cloned()
    }

    fn read_table(&self) -> RwLockReadGuard<'_, Table> {
        self.bus.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_table(&self) -> RwLockWriteGuard<'_, Table> {
        self.bus.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Windows {
    fn forward(&self, address: u64, size_bytes: u64) -> bool {
        self.memory32.holds(address, size_bytes) || self.memory64.holds(address, size_bytes)
    }
}

impl Device for PciRoot {
    fn id(&self) -> &str {
        "pci"
    }

    /// Resets the bridge and the address port. Functions are devices of their own and reset as such;
    /// [`assign_bars`](PciRoot::assign_bars) follows once all are.
    fn reset(&mut self) {
        self.bus.config_address.store(0, Ordering::SeqCst);
        lock(&self.bus.bridge).config.reset();
    }

    fn pause(&mut self) {}

    /// Follows what was restored meanwhile.
    fn resume(&mut self) {
        self.follow_all();
    }
}

/// Saved state of the root. Routes follow from the functions' own configuration space.
#[derive(Debug, Serialize, Deserialize)]
pub struct PciRootState {
    config_address: u32,
    bridge: ConfigSpaceState,
}

impl Snapshot for PciRoot {
    const VERSION: u32 = 1;
    type State = PciRootState;

    fn save(&self) -> Saved<PciRootState> {
        let Self { bus } = self;
        let Bus { windows: _, config_address, bridge, table: _ } = &**bus;
        let config_address = config_address.load(Ordering::SeqCst);
        Saved::State(PciRootState { config_address, bridge: lock(bridge).config.save() })
    }

    fn restore(&mut self, state: PciRootState) -> Result<(), SnapshotError> {
        let PciRootState { config_address, bridge } = state;
        lock(&self.bus.bridge).config.restore(&bridge)?;
        self.bus.config_address.store(config_address, Ordering::SeqCst);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
