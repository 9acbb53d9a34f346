//! From spec to machine, in the order in which a person would put a computer together.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use acpi::{AcpiConfig, AcpiError};
use arch_model::x86_64::layout;
use boot_loader::{BootConfig, BootProtocol, Kernel, LoadError};
use char_backend::{InputPump, InputSource};
use device_model::{PowerSink, ReportSink, lock};
use guest_memory::{AllocateError, GpaRange, GuestAddress, GuestMemory, GuestMemoryError, Policy};
use host_sys::poll::new_event;
use pci::{AssignError, AttachError, PciRoot, Window, Windows};
use vcpu_model::{EngineError, Vm};
use virtio_block::{OnError, VirtioBlock};
use virtio_console::VirtioConsole;
use virtio_net::VirtioNet;
use virtio_rng::VirtioRng;
use vm_spec::{DiskSpec, VmSpec};

use crate::address_map::{pci_mmio64_base, ram_ranges};
use crate::backends::Backends;
use crate::bus::Overlap;
use crate::devices::Wiring;
use crate::machine::Machine;
use crate::reset_vector;

/// Why a machine could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// RAM.
    #[error(transparent)]
    Memory(#[from] AllocateError),
    /// Kernel, initrd, modules or command line.
    #[error(transparent)]
    Boot(#[from] LoadError),
    /// The guest has no memory where firmware belongs.
    #[error("cannot write the reset vector's code to guest memory")]
    ResetVector(#[source] GuestMemoryError),
    /// ACPI tables.
    #[error(transparent)]
    Acpi(#[from] AcpiError),
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Two devices at one address.
    #[error(transparent)]
    Overlap(#[from] Overlap),
    /// No slot for a PCI function.
    #[error(transparent)]
    Slot(#[from] AttachError),
    /// No room for a PCI function's regions.
    #[error(transparent)]
    Region(#[from] AssignError),
    /// A disk cannot be offered to the guest.
    #[error(transparent)]
    Block(#[from] virtio_block::BuildError),
    /// A network card's address is not that of one card.
    #[error(transparent)]
    Mac(#[from] virtio_net::BadMac),
    /// A virtio device could not be made.
    #[error("cannot make device {id}")]
    Virtio {
        /// The device.
        id: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The console's input has no thread.
    #[error("cannot start the console's input")]
    Console(#[source] io::Error),
}

/// What the kernel is told when nobody says anything: messages on the serial port; a panic resets the machine instead
/// of hanging; the first disk is the root.
fn default_cmdline(disks: &[DiskSpec]) -> String {
    let root = match disks.first() {
        Some(disk) if disk.readonly => " root=/dev/vda ro",
        Some(_) => " root=/dev/vda rw",
        None => "",
    };
    format!("console=ttyS0 panic=-1{root}")
}

/// The command line: that of the spec, else that of a unified kernel image, else one that fits.
fn command_line<'a>(spec: &'a VmSpec, kernel: &'a Kernel) -> Cow<'a, str> {
    let given = spec.cmdline.as_deref().or(kernel.command_line());
    given.map_or_else(|| Cow::Owned(default_cmdline(&spec.disks)), Cow::Borrowed)
}

impl Machine {
    /// RAM for the machine of `spec`, for the engine to make a VM with.
    pub fn allocate_ram(spec: &VmSpec) -> Result<GuestMemory, BuildError> {
        let policy = Policy { mergeable: spec.merge, ..Policy::default() };
        Ok(GuestMemory::allocate(&ram_ranges(spec.memory.bytes()), policy)?)
    }

    /// Puts the machine of `spec` together on `vm`, which was made with the fresh RAM `memory`: devices as
    /// after power-on, the kernel loaded.
    pub fn build<V: Vm>(
        spec: &VmSpec,
        vm: &V,
        memory: &GuestMemory,
        backends: &Backends,
        power: Arc<dyn PowerSink>,
        reports: Arc<dyn ReportSink>,
    ) -> Result<Machine, BuildError> {
        let windows = pci_windows(spec.memory.bytes());
        let root = PciRoot::new(windows);
        let mut wiring = Wiring::new(root, memory.clone(), vm.msi(), vm.doorbells(), power);
        let room = new_event().map_err(BuildError::Console)?;
        let serial_room = room.try_clone().map_err(BuildError::Console)?;
        let output = Arc::clone(&backends.console);
        let output = Box::new(move |data: &[u8]| output.write(data));
        let serial = wiring.serial(vm.irq_line(layout::COM1_GSI), output, Some(serial_room))?;
        wiring.rtc()?;
        wiring.pit(vm.irq_line(layout::PIT_GSI))?;
        let power_button = wiring.power(vm.irq_line(layout::ACPI_GED_GSI))?;
        if let Some(port) = spec.debug_exit {
            wiring.debug_exit(port)?;
        }
        if spec.exit_status {
            wiring.exit_status()?;
        }
        wiring.pvpanic(reports)?;
        attach_virtio(&mut wiring, spec, backends)?;
        wiring.pci.assign_bars()?;

        let tables = AcpiConfig {
            vcpus: spec.cpus.get(),
            ecam: range(layout::ECAM_BASE, layout::ECAM_SIZE),
            mmio32: range(windows.memory32.base, windows.memory32.size_bytes),
            mmio64: Some(range(windows.memory64.base, windows.memory64.size_bytes)),
            serial: true,
        };
        reset_vector::write_to(memory).map_err(BuildError::ResetVector)?;
        let boot = BootConfig {
            command_line: &command_line(spec, &backends.kernel),
            initrds: &backends.initrds,
            modules: &backends.modules,
            rsdp: Some(acpi::write_to(&tables, memory)?),
            protocol: forced_protocol(spec.boot_protocol),
            zeroed_ram: true,
        };
        let kernel = backends.kernel.load(memory, &boot)?;
        let take = move |source: InputSource<'_>| lock(&serial).receive(source);
        let input = InputPump::start(Arc::clone(&backends.console), room, take);
        let input = input.map_err(BuildError::Console)?;
        Ok(Machine::new(wiring, &kernel.initial, power_button, input))
    }
}

/// The one way into the kernel that is wanted, if only one is.
fn forced_protocol(wanted: vm_spec::BootProtocol) -> Option<BootProtocol> {
    match wanted {
        vm_spec::BootProtocol::Auto => None,
        vm_spec::BootProtocol::Linux => Some(BootProtocol::Linux),
        vm_spec::BootProtocol::Pvh => Some(BootProtocol::Pvh),
        vm_spec::BootProtocol::Multiboot => Some(BootProtocol::Multiboot),
        vm_spec::BootProtocol::Multiboot2 => Some(BootProtocol::Multiboot2),
    }
}

/// PCI functions in the order in which the guest finds them: disks, network cards, console, entropy.
fn attach_virtio(wiring: &mut Wiring, spec: &VmSpec, backends: &Backends) -> Result<(), BuildError> {
    let queues = u16::try_from(spec.cpus.get()).unwrap_or(1).min(MAX_BLOCK_QUEUES);
    for (index, (disk, spec)) in backends.disks.iter().zip(&spec.disks).enumerate() {
        let serial = spec.serial.as_ref().map_or("", |serial| serial.as_str());
        let id = disk_id(index);
        let on_error = match spec.on_error {
            vm_spec::OnError::Report => OnError::Report,
            vm_spec::OnError::Pause => OnError::Hold,
        };
        let block = VirtioBlock::new(Arc::clone(disk), serial, queues)?;
        let block = block.on_error(on_error, &id, Arc::clone(&wiring.sink));
        wiring.virtio(&id, Box::new(block))?;
    }
    for (index, (backend, net)) in backends.nets.iter().zip(&spec.nets).enumerate() {
        let mac = net.mac_in(&spec.name, index);
        let card = VirtioNet::new(Arc::clone(backend), mac.0.try_into()?, net.queues);
        let id = card_id(index);
        wiring.virtio(&id, Box::new(card))?;
    }
    if let Some(console) = &backends.virtio_console {
        wiring.virtio("console0", Box::new(VirtioConsole::new(Arc::clone(console))))?;
    }
    wiring.virtio("rng0", Box::new(VirtioRng::new()))
}

/// The id of the disk at this place of the spec.
pub fn disk_id(index: usize) -> String {
    format!("block{index}")
}

/// The id of the network card at this place of the spec.
pub fn card_id(index: usize) -> String {
    format!("net{index}")
}

/// Most queues of a disk: beyond that, threads wait for one another at the file.
const MAX_BLOCK_QUEUES: u16 = 4;

fn pci_windows(ram_bytes: u64) -> Windows {
    let window = |base, size_bytes| Window { base, size_bytes };
    Windows {
        memory32: window(layout::PCI_MMIO32_BASE, layout::PCI_MMIO32_SIZE),
        memory64: window(pci_mmio64_base(ram_bytes), layout::PCI_MMIO64_SIZE),
    }
}

fn range(start: u64, size_bytes: u64) -> GpaRange {
    GpaRange { start: GuestAddress(start), size_bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_command_line_names_the_first_disk() {
        let line = |disks: &[&str]| {
            default_cmdline(&disks.iter().map(|disk| disk.parse().unwrap()).collect::<Vec<DiskSpec>>())
        };
        assert_eq!(line(&[]), "console=ttyS0 panic=-1");
        assert_eq!(line(&["path=a", "path=b,readonly"]), "console=ttyS0 panic=-1 root=/dev/vda rw");
        assert_eq!(line(&["path=a,readonly"]), "console=ttyS0 panic=-1 root=/dev/vda ro");
    }
}
