//! From blueprint to machine, in the order in which a person would put a computer together. Nothing is decided here.

use std::sync::Arc;

use arch_model::x86_64::layout;
use char_backend::{InputPump, InputSource};
use device_model::{EventFd, PowerSink, ReportSink, lock};
use guest_memory::{GpaRange, GuestAddress, GuestMemory, Policy};
use host_sys::poll::new_event;
use net_backend::Offloads;
use pci::{PciRoot, Window, Windows};
use vcpu_model::Vm;
use virtio_block::VirtioBlock;
use virtio_console::VirtioConsole;
use virtio_core::VirtioDevice;
use virtio_net::VirtioNet;
use virtio_rng::VirtioRng;
use vm_spec::blueprint::{
    DeviceKind, DiskDevice, DiskFeatures, MemoryMap, NicDevice, NicFeatures, PciDevice, Range,
};
use vm_spec::{Blueprint, Chip};

use crate::backends::{Backends, DiskBackend};
use crate::devices::{Chips, Wiring};
use crate::error::BuildError;
use crate::machine::Machine;

impl Machine {
    /// RAM of this map, for the engine to make a VM with; `merge` lets ksmd merge its pages with equal ones.
    pub fn allocate_ram(map: &MemoryMap, merge: bool) -> Result<GuestMemory, BuildError> {
        let ranges: Vec<GpaRange> = map.ram.iter().copied().map(gpa_range).collect();
        Ok(GuestMemory::allocate(&ranges, Policy { mergeable: merge, ..Policy::default() })?)
    }

    /// Puts the machine of `blueprint` together on `vm`, which was made with the RAM `memory`: devices are as after
    /// power-on, and nothing is in RAM yet. It is [loaded](crate::boot::load) or [restored](Machine::restore) next.
    pub fn assemble<V: Vm>(
        blueprint: &Blueprint,
        vm: &V,
        memory: &GuestMemory,
        backends: &Backends,
        power: Arc<dyn PowerSink>,
        reports: Arc<dyn ReportSink>,
    ) -> Result<Machine, BuildError> {
        blueprint.check_fit(&backends.facts())?;
        if !memory.slots().ram_ranges().eq(blueprint.memory.ram.iter().copied().map(gpa_range)) {
            return Err(BuildError::OtherRam);
        }
        let root = PciRoot::new(windows(&blueprint.memory));
        let ecam = blueprint.memory.ecam;
        let mut wiring =
            Wiring::new((root, ecam), memory.clone(), vm.msi(), vm.doorbells(), (power, reports));
        let room = new_event().map_err(BuildError::Console)?;
        let mut chips = Chips::default();
        for chip in &blueprint.chips {
            wire(*chip, &mut wiring, &mut chips, vm, backends, &room)?;
        }
        for device in &blueprint.devices {
            attach(device, &mut wiring, backends)?;
        }
        wiring.pci.assign_bars()?;

        let Chips { serial, power_button } = chips;
        let serial = serial.ok_or(BuildError::NoChip(Chip::Serial.id()))?;
        let power_button = power_button.ok_or(BuildError::NoChip(Chip::AcpiEvents.id()))?;
        let take = move |source: InputSource<'_>| lock(&serial).receive(source);
        let input = InputPump::start(Arc::clone(&backends.console), room, take);
        Ok(Machine::new(wiring, power_button, input.map_err(BuildError::Console)?))
    }
}

/// Makes a chip and wires it.
fn wire<V: Vm>(
    chip: Chip,
    wiring: &mut Wiring,
    chips: &mut Chips,
    vm: &V,
    backends: &Backends,
    room: &EventFd,
) -> Result<(), BuildError> {
    match chip {
        Chip::Serial => {
            let output = Arc::clone(&backends.console);
            let output = Box::new(move |data: &[u8]| output.write(data));
            let room = room.try_clone().map_err(BuildError::Console)?;
            chips.serial = Some(wiring.serial(vm.irq_line(layout::COM1_GSI), output, Some(room))?);
        }
        Chip::Rtc => wiring.rtc()?,
        Chip::Pit => wiring.pit(vm.irq_line(layout::PIT_GSI))?,
        Chip::Keyboard => wiring.keyboard()?,
        Chip::AcpiPower => wiring.acpi_power()?,
        Chip::AcpiEvents => chips.power_button = Some(wiring.acpi_events(vm.irq_line(layout::ACPI_GED_GSI))?),
        Chip::DebugExit { port } => wiring.debug_exit(port)?,
        Chip::ExitStatus => wiring.exit_status()?,
        Chip::Panic => wiring.pvpanic()?,
    }
    Ok(())
}

/// Makes a PCI function and puts it into its slot.
fn attach(
    PciDevice { id, slot, kind }: &PciDevice,
    wiring: &mut Wiring,
    backends: &Backends,
) -> Result<(), BuildError> {
    let missing = || BuildError::NoBackend(id.clone());
    let device: Box<dyn VirtioDevice> = match kind {
        DeviceKind::Disk(disk) => {
            let DiskBackend { disk: behind, on_error } = backends.disks.get(id).ok_or_else(missing)?;
            let DiskDevice { queues, block_size_bytes: _, readonly: _, serial, features } = disk;
            let serial = serial.as_ref().map_or("", |serial| serial.as_str());
            let block = VirtioBlock::new(Arc::clone(behind), serial, *queues)?;
            let block = block.offering(disk_offer(*features));
            let block = block.on_error(*on_error, id.as_str(), Arc::clone(&wiring.sink));
            Box::new(block)
        }
        DeviceKind::Nic(NicDevice { mac, queue_pairs, features }) => {
            let behind = backends.nics.get(id).ok_or_else(missing)?;
            let mac = <[u8; 6]>::from(*mac).try_into()?;
            Box::new(VirtioNet::new(Arc::clone(behind), mac, *queue_pairs).offering(nic_offer(*features)))
        }
        DeviceKind::Console => {
            let behind = backends.virtio_console.as_ref().ok_or_else(missing)?;
            Box::new(VirtioConsole::new(Arc::clone(behind)))
        }
        DeviceKind::Entropy => Box::new(VirtioRng::new()),
    };
    wiring.virtio(id, *slot, device)
}

fn disk_offer(features: DiskFeatures) -> virtio_block::Offer {
    let DiskFeatures { discard, write_zeroes } = features;
    virtio_block::Offer { discard, write_zeroes }
}

fn nic_offer(features: NicFeatures) -> virtio_net::Offer {
    let NicFeatures { checksum, tso4, tso6, tso_ecn, mtu_bytes } = features;
    virtio_net::Offer { offloads: Offloads { checksum, tso4, tso6, tso_ecn }, mtu_bytes }
}

fn windows(map: &MemoryMap) -> Windows {
    let window = |Range { start, size_bytes }| Window { base: start, size_bytes };
    Windows { memory32: window(map.pci32), memory64: window(map.pci64) }
}

pub(crate) fn gpa_range(range: Range) -> GpaRange {
    GpaRange { start: GuestAddress(range.start), size_bytes: range.size_bytes }
}
