//! What is on the PCI bus: made in one way, whether the machine is being put together or runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use device_model::{Device, Doorbells, MsiController, PciFunction, PowerSink, Shared, shared};
use guest_memory::GuestMemory;
use net_backend::Offloads;
use pci::{PciRoot, Slot};
use virtio_block::VirtioBlock;
use virtio_console::VirtioConsole;
use virtio_core::{VirtioDevice, VirtioPci};
use virtio_net::VirtioNet;
use virtio_rng::VirtioRng;
use vm_spec::DeviceId;
use vm_spec::blueprint::{DeviceKind, DiskDevice, DiskFeatures, NicDevice, NicFeatures, PciDevice};

use crate::backends::{Backends, DiskBackend};
use crate::error::BuildError;

/// How long to wait before it is looked again whether a vCPU is through with a function.
const CHECK: Duration = Duration::from_micros(20);

/// The functions of the PCI bus, and what it takes to make one.
pub(crate) struct Functions {
    root: PciRoot,
    memory: GuestMemory,
    msi: Arc<dyn MsiController>,
    doorbells: Arc<dyn Doorbells>,
    power: Arc<dyn PowerSink>,
    by_slot: BTreeMap<u8, Function>,
}

struct Function {
    id: DeviceId,
    /// Disks and cards come and go; consoles and the entropy source are parts of the machine.
    is_removable: bool,
    device: Shared<dyn Device>,
}

impl Functions {
    /// An empty bus.
    pub(crate) fn new(
        root: PciRoot,
        memory: GuestMemory,
        msi: Arc<dyn MsiController>,
        doorbells: Arc<dyn Doorbells>,
        power: Arc<dyn PowerSink>,
    ) -> Functions {
        Functions { root, memory, msi, doorbells, power, by_slot: BTreeMap::new() }
    }

    /// The bus.
    pub(crate) fn root(&self) -> &PciRoot {
        &self.root
    }

    /// The guest's RAM.
    pub(crate) fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// The devices, ascending by slot.
    pub(crate) fn devices(&self) -> impl DoubleEndedIterator<Item = &Shared<dyn Device>> {
        self.by_slot.values().map(|function| &function.device)
    }

    /// The slot of a disk or card.
    pub(crate) fn removable(&self, id: &DeviceId) -> Option<u8> {
        let found = self.by_slot.iter().find(|(_, function)| function.is_removable && function.id == *id);
        found.map(|(slot, _)| *slot)
    }

    /// Makes a device and puts it into its slot.
    ///
    /// # Errors
    /// It has nothing active behind it, the slot is taken, or the host refuses; the bus is as it was.
    pub(crate) fn attach(&mut self, device: &PciDevice, backends: &Backends) -> Result<(), BuildError> {
        let PciDevice { id, slot, kind } = device;
        let virtio = self.virtio_device(id, kind, backends)?;
        let failed = |source| BuildError::Virtio { id: id.clone(), source };
        let doorbells = Arc::clone(&self.doorbells);
        let function = VirtioPci::new(id.as_str(), virtio, self.memory.clone(), &*self.msi, doorbells);
        let function = shared(function.map_err(failed)?.part_of(Arc::clone(&self.power)));
        self.root.attach(Slot(*slot), function.clone() as Shared<dyn PciFunction>)?;
        let is_removable = matches!(kind, DeviceKind::Disk(_) | DeviceKind::Nic(_));
        self.by_slot.insert(*slot, Function { id: id.clone(), is_removable, device: function });
        Ok(())
    }

    /// Takes a disk or card out of its slot, whatever its guest does with it: when this returns, its queues have stopped,
    /// nothing touches guest memory for it any more, and what was behind it is free. Its name; nothing if no disk or card
    /// is in the slot.
    pub(crate) fn detach(&mut self, slot: u8) -> Option<DeviceId> {
        self.by_slot.get(&slot).filter(|function| function.is_removable)?;
        let Function { id, device, .. } = self.by_slot.remove(&slot)?;
        drop(self.root.detach(Slot(slot)));
        // A vCPU that had it in its hands ends its one access, and drops it.
        while Arc::strong_count(&device) > 1 {
            std::thread::sleep(CHECK);
        }
        Some(id)
    }

    fn virtio_device(
        &self,
        id: &DeviceId,
        kind: &DeviceKind,
        backends: &Backends,
    ) -> Result<Box<dyn VirtioDevice>, BuildError> {
        let missing = || BuildError::NoBackend(id.clone());
        Ok(match kind {
            DeviceKind::Disk(disk) => {
                let DiskBackend { disk: behind, on_error } = backends.disk_backend(id).ok_or_else(missing)?;
                let DiskDevice { queues, block_size_bytes: _, readonly: _, serial, features } = disk;
                let serial = serial.as_ref().map_or("", |serial| serial.as_str());
                let block = VirtioBlock::new(behind.disk(), serial, *queues)?;
                let block = block.offering(disk_offer(*features));
                Box::new(block.on_error(*on_error, id.as_str(), Arc::clone(&self.power)))
            }
            DeviceKind::Nic(NicDevice { mac, queue_pairs, features }) => {
                let behind = backends.nic(id).ok_or_else(missing)?;
                Box::new(
                    VirtioNet::new(Arc::clone(behind), *mac, *queue_pairs).offering(nic_offer(*features)),
                )
            }
            DeviceKind::Console => {
                let behind = backends.console(id).ok_or_else(missing)?;
                Box::new(VirtioConsole::new(Arc::clone(behind)))
            }
            DeviceKind::Entropy => Box::new(VirtioRng::new()),
        })
    }
}

fn disk_offer(features: DiskFeatures) -> virtio_block::Offer {
    let DiskFeatures { discard, write_zeroes } = features;
    virtio_block::Offer { discard, write_zeroes }
}

fn nic_offer(features: NicFeatures) -> virtio_net::Offer {
    let NicFeatures { checksum, tso4, tso6, tso_ecn, mtu_bytes } = features;
    virtio_net::Offer { offloads: Offloads { checksum, tso4, tso6, tso_ecn }, mtu_bytes }
}
