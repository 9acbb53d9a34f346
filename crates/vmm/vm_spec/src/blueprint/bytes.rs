//! A blueprint as bytes, to be kept.

use std::collections::BTreeSet;

use arch_model::x86_64::cpuid::Cpuid;
use arch_model::x86_64::layout::GENERATION_ID_SIZE;
use serde::Deserialize;

use super::slots::SLOTS;
use super::{Blueprint, Boot, DeviceKind, MemoryMap, PciDevice, Range};
use crate::{Chip, CpuCount, MemorySize};

/// Version of [`Blueprint`] as it is written. A changed blueprint gets another number, and a type that what is written
/// under this one is read by.
const VERSION: u32 = 2;

/// As version 1 had it: no machine had a generation id.
#[derive(Deserialize)]
struct BlueprintV1 {
    boot: Boot,
    cpus: CpuCount,
    cpuid: Cpuid,
    tsc_khz: Option<u32>,
    memory: MemoryMap,
    chips: Vec<Chip>,
    devices: Vec<PciDevice>,
}

impl From<BlueprintV1> for Blueprint {
    fn from(older: BlueprintV1) -> Blueprint {
        let BlueprintV1 { boot, cpus, cpuid, tsc_khz, memory, chips, devices } = older;
        Blueprint { boot, cpus, cpuid, tsc_khz, memory, chips, devices, generation_id: None }
    }
}

/// Why bytes are no blueprint, or one that nothing can be built of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlueprintError {
    /// It was written by a newer program.
    #[error(
        "the machine's description has version {found}, and this program reads {VERSION}; use a newer one"
    )]
    Version {
        /// The version.
        found: u32,
    },
    /// The bytes are something else.
    #[error("the machine's description is damaged")]
    Damaged,
    /// No machine is like this.
    #[error("the machine's description makes no sense: {0}")]
    Senseless(&'static str),
}

impl Blueprint {
    /// The bytes, version first.
    ///
    /// # Errors
    /// It cannot be written: a mistake in its types.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BlueprintError> {
        postcard::to_allocvec(&(VERSION, self)).map_err(|_| BlueprintError::Damaged)
    }

    /// Reads what [`to_bytes`](Blueprint::to_bytes) wrote, perhaps long ago, perhaps changed by somebody since.
    ///
    /// # Errors
    /// It is none, or of another version, or no machine can be built of it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Blueprint, BlueprintError> {
        let (found, rest) = postcard::take_from_bytes(bytes).map_err(|_| BlueprintError::Damaged)?;
        let read = match found {
            1 => postcard::take_from_bytes::<BlueprintV1>(rest).map(|(older, rest)| (older.into(), rest)),
            VERSION => postcard::take_from_bytes::<Blueprint>(rest),
            _ => return Err(BlueprintError::Version { found }),
        };
        let (blueprint, rest) = read.map_err(|_| BlueprintError::Damaged)?;
        if !rest.is_empty() {
            return Err(BlueprintError::Damaged);
        }
        blueprint.check().map_err(BlueprintError::Senseless)?;
        Ok(blueprint)
    }

    /// What the types alone do not rule out.
    fn check(&self) -> Result<(), &'static str> {
        let ids: BTreeSet<&str> = self.ids().collect();
        if ids.len() != self.ids().count() {
            return Err("two devices of one name");
        }
        if !self.devices.is_sorted_by(|one, next| one.slot < next.slot) {
            return Err("two devices in one PCI slot, or slots out of order");
        }
        if self.devices.iter().any(|device| !SLOTS.contains(&device.slot)) {
            return Err("a device in a PCI slot that is none");
        }
        for device in &self.devices {
            let fits = match &device.kind {
                DeviceKind::Disk(disk) => {
                    let size = disk.block_size_bytes;
                    (1..=64).contains(&disk.queues) && size.is_power_of_two() && (512..=65536).contains(&size)
                }
                DeviceKind::Nic(nic) => (1..=64).contains(&nic.queue_pairs),
                DeviceKind::Console | DeviceKind::Entropy => true,
            };
            if !fits {
                return Err("a device that is none");
            }
        }
        self.memory.check()?;
        let is_in_ram = |start: u64| {
            let id = Range { start, size_bytes: GENERATION_ID_SIZE };
            self.memory
                .ram
                .iter()
                .any(|ram| ram.start <= start && id.end().is_some_and(|end| Some(end) <= ram.end()))
        };
        match self.generation_id {
            Some(start) if !start.is_multiple_of(8) || !is_in_ram(start) => {
                Err("a generation id that is not in RAM")
            }
            _ => Ok(()),
        }
    }
}

impl MemoryMap {
    fn check(&self) -> Result<(), &'static str> {
        const PAGE: u64 = 4096;
        let MemoryMap { ram, ecam, pci32, pci64 } = self;
        let is_size = |range: &Range| range.size_bytes > 0 && range.end().is_some();
        let is_whole =
            |range: &Range| range.start.is_multiple_of(PAGE) && range.size_bytes.is_multiple_of(PAGE);
        let mut all: Vec<&Range> = ram.iter().chain([ecam, pci32, pci64]).collect();
        if ram.first().is_none_or(|first| first.start != 0) || !ram.is_sorted_by_key(|range| range.start) {
            return Err("RAM that does not begin at 0");
        }
        if !all.iter().all(|range| is_size(range) && is_whole(range)) {
            return Err("memory of no length, or not in whole pages");
        }
        all.sort_by_key(|range| range.start);
        // Each end is known to be one.
        if !all.is_sorted_by(|one, next| one.end() <= Some(next.start)) {
            return Err("memory and windows for devices that overlap");
        }
        let total = ram.iter().try_fold(0u64, |sum, range| sum.checked_add(range.size_bytes));
        if total.is_none_or(|total| total > MemorySize::MAX) {
            return Err("more memory than any machine has");
        }
        Ok(())
    }
}
