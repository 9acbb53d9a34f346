//! What a machine is built of: everything that its guest can see, decided.
//!
//! A [`VmSpec`](crate::VmSpec) is what a person wants; [`resolve`] turns it, with what the host can give
//! ([`HostFacts`]), into a [`Blueprint`], and decides nothing by looking anywhere else. A machine of the same blueprint
//! is the same machine to its guest, on whichever host and engine. It is kept with an instance, and comes first in every
//! saved state.
//!
//! It names no file or interface of a host: those are the spec's, found by the device's id. So a blueprint that comes
//! from elsewhere opens nothing.

mod bytes;
mod facts;
mod fit;
mod memory_map;
mod resolve;
mod slots;
#[cfg(test)]
mod tests;

use arch_model::x86_64::cpuid::Cpuid;
use serde::{Deserialize, Serialize};

pub use bytes::BlueprintError;
pub use facts::{BackendFacts, DiskFacts, HostFacts, NicFacts};
pub use fit::Misfit;
pub use memory_map::{MemoryMap, Range};
pub use resolve::{ResolveError, resolve};

use crate::{BootProtocol, Chip, CpuCount, DeviceId, DiskSerial, MacAddress, PCI_BUS_ID, VmSpec};

/// A machine, as its guest sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blueprint {
    /// What it starts with when it is powered on.
    pub boot: Boot,
    /// vCPUs.
    pub cpus: CpuCount,
    /// What CPUID tells, but for what differs between vCPUs.
    pub cpuid: Cpuid,
    /// Frequency of the TSC in kHz, where it is not the engine's own: a machine that is to move where no TSC can be
    /// slowed down has that of the slowest.
    pub tsc_khz: Option<u32>,
    /// Where what is.
    pub memory: MemoryMap,
    /// Devices at fixed ports, in the order in which they are wired and saved.
    pub chips: Vec<Chip>,
    /// Devices on the PCI bus, ascending by slot.
    pub devices: Vec<PciDevice>,
    /// Where in RAM the generation id is, by which the guest sees that it goes on from a snapshot. A machine that was first
    /// started by a program without it has none, as its ACPI tables do not tell of one.
    pub generation_id: Option<u64>,
}

/// What the first vCPU finds when the machine is powered on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Boot {
    /// A kernel that the monitor loads.
    Kernel {
        /// How it is entered.
        protocol: BootProtocol,
        /// What it is told.
        command_line: String,
    },
}

/// A device on the PCI bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PciDevice {
    /// Its name.
    pub id: DeviceId,
    /// Its device number on bus 0, 1 to 31.
    pub slot: u8,
    /// What it is.
    pub kind: DeviceKind,
}

/// Kinds of devices on the PCI bus. All are virtio devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKind {
    /// A disk.
    Disk(DiskDevice),
    /// A network card.
    Nic(NicDevice),
    /// A console.
    Console,
    /// A source of entropy.
    Entropy,
}

/// A disk, but for its length, which may change while it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskDevice {
    /// Queues.
    pub queues: u16,
    /// Size of its logical blocks in bytes.
    pub block_size_bytes: u32,
    /// The guest may not write.
    pub readonly: bool,
    /// Its serial number.
    pub serial: Option<DiskSerial>,
    /// What it can do.
    pub features: DiskFeatures,
}

/// What a disk can do besides reading and writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskFeatures {
    /// Forget what blocks hold.
    pub discard: bool,
    /// Zero blocks without being sent zeros.
    pub write_zeroes: bool,
}

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicDevice {
    /// Its address.
    pub mac: MacAddress,
    /// Queue pairs.
    pub queue_pairs: u16,
    /// What it can do.
    pub features: NicFeatures,
}

/// Work that a network card takes over, and what it says of its network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicFeatures {
    /// Checksums of packets.
    pub checksum: bool,
    /// Segmentation of TCP over IPv4.
    pub tso4: bool,
    /// Segmentation of TCP over IPv6.
    pub tso6: bool,
    /// Segmentation of TCP with congestion notification.
    pub tso_ecn: bool,
    /// Largest packet in bytes.
    pub mtu_bytes: Option<u16>,
}

impl Blueprint {
    /// The names of all devices whose state makes up the machine's, in the order in which they are saved.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        let chips = self.chips.iter().map(|chip| chip.id());
        let devices = self.devices.iter().map(|device| device.id.as_str());
        [PCI_BUS_ID].into_iter().chain(chips).chain(devices)
    }

    /// The device of this name on the PCI bus.
    pub fn device(&self, id: &DeviceId) -> Option<&PciDevice> {
        self.devices.iter().find(|device| device.id == *id)
    }

    /// The same machine with one device more, in the slot that it says.
    pub fn with(&self, device: PciDevice) -> Blueprint {
        let mut with = self.clone();
        with.devices.push(device);
        with.devices.sort_by_key(|device| device.slot);
        with
    }

    /// The same machine without the device of this name.
    pub fn without(&self, id: &DeviceId) -> Blueprint {
        let mut without = self.clone();
        without.devices.retain(|device| device.id != *id);
        without
    }

    /// Disks, in the order in which the guest finds them.
    pub fn disks(&self) -> impl Iterator<Item = (&DeviceId, &DiskDevice)> {
        self.devices.iter().filter_map(|device| match &device.kind {
            DeviceKind::Disk(disk) => Some((&device.id, disk)),
            _ => None,
        })
    }

    /// Whether its disks and cards are those that `spec` names.
    pub fn has_devices_of(&self, spec: &VmSpec) -> bool {
        let ids = [spec.disk_ids(), spec.nic_ids()].concat();
        let own = self.disks().map(|(id, _)| id).chain(self.nics().map(|(id, _)| id));
        let own: Vec<&DeviceId> = own.collect();
        own.len() == ids.len() && own.iter().all(|id| ids.contains(id))
    }

    /// Network cards, in the order in which the guest finds them.
    pub fn nics(&self) -> impl Iterator<Item = (&DeviceId, &NicDevice)> {
        self.devices.iter().filter_map(|device| match &device.kind {
            DeviceKind::Nic(nic) => Some((&device.id, nic)),
            _ => None,
        })
    }
}
