//! From what is wanted to what is built: the one place where that is decided.

use arch_model::x86_64::layout;

use super::slots::Slots;
use super::{Blueprint, Boot, DeviceKind, DiskDevice, HostFacts, MemoryMap, NicDevice, PciDevice};
use crate::net::derived_mac;
use crate::{BootSpec, Chip, DeviceId, DiskSpec, MacAddress, NetSpec, VmSpec};

/// Most queues of a disk: beyond that, threads wait for one another at the file.
const DISK_QUEUES_MAX: u16 = 4;

/// Why a description comes to no machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// All slots are taken.
    #[error("device {0} does not fit: the PCI bus is full; give the machine fewer disks and cards")]
    NoSlot(DeviceId),
    /// Two cards would have one address.
    #[error("network cards {first} and {second} would both have MAC address {mac}; give one of them another")]
    SameMac {
        /// The one that comes first.
        first: DeviceId,
        /// The other.
        second: DeviceId,
        /// The address.
        mac: MacAddress,
    },
    /// A device has nothing behind it.
    #[error("device {0} has nothing of the host behind it")]
    NoFacts(DeviceId),
}

/// Decides what is built for `spec` with what the host can give.
///
/// Whatever of the machine of the `former` blueprint is still wanted, found by its id, keeps its slot, and a card its
/// address.
///
/// # Errors
/// What is wanted does not go together, or `host` knows nothing of a device.
pub fn resolve(
    spec: &VmSpec,
    host: &HostFacts,
    former: Option<&Blueprint>,
) -> Result<Blueprint, ResolveError> {
    let (disk_ids, nic_ids) = (spec.disk_ids(), spec.nic_ids());
    let console = spec.virtio_console.as_ref().map(|_| (DeviceId::console(), DeviceKind::Console));
    let single: Vec<_> = console.into_iter().chain([(DeviceId::entropy(), DeviceKind::Entropy)]).collect();
    let single_ids = single.iter().map(|(id, _)| id);
    let mut slots = Slots::new(former, disk_ids.iter().chain(&nic_ids).chain(single_ids));

    // In the order in which a guest finds them on a new machine.
    let mut devices = Vec::new();
    let mut place = |id: &DeviceId, kind| -> Result<(), ResolveError> {
        let slot = slots.take(id).ok_or_else(|| ResolveError::NoSlot(id.clone()))?;
        devices.push(PciDevice { id: id.clone(), slot, kind });
        Ok(())
    };
    for (id, disk) in disk_ids.iter().zip(&spec.disks) {
        place(id, DeviceKind::Disk(disk_device(spec, id, disk, host)?))?;
    }
    for ((id, mac), net) in nic_ids.iter().zip(addresses(spec, &nic_ids, former)?).zip(&spec.nets) {
        place(id, DeviceKind::Nic(nic_device(id, mac, net, host)?))?;
    }
    for (id, kind) in single {
        place(&id, kind)?;
    }
    devices.sort_by_key(|device| device.slot);
    Ok(Blueprint {
        boot: boot(spec, host, &devices),
        cpus: spec.cpus,
        cpuid: host.cpuid.clone(),
        tsc_khz: host.tsc_khz,
        memory: MemoryMap::of(spec.memory),
        chips: chips(spec),
        devices,
        // Every machine has RAM there.
        generation_id: Some(layout::GENERATION_ID_ADDRESS),
    })
}

fn disk_device(
    spec: &VmSpec,
    id: &DeviceId,
    disk: &DiskSpec,
    host: &HostFacts,
) -> Result<DiskDevice, ResolveError> {
    let facts = host.backends.disks.get(id).ok_or_else(|| ResolveError::NoFacts(id.clone()))?;
    Ok(DiskDevice {
        queues: u16::try_from(spec.cpus.get()).unwrap_or(DISK_QUEUES_MAX).min(DISK_QUEUES_MAX),
        block_size_bytes: facts.block_size_bytes,
        readonly: facts.readonly,
        serial: disk.serial.clone(),
        features: facts.features,
    })
}

fn nic_device(
    id: &DeviceId,
    mac: MacAddress,
    net: &NetSpec,
    host: &HostFacts,
) -> Result<NicDevice, ResolveError> {
    let facts = host.backends.nics.get(id).ok_or_else(|| ResolveError::NoFacts(id.clone()))?;
    Ok(NicDevice { mac, queue_pairs: net.queues.min(facts.queue_pairs).max(1), features: facts.features })
}

/// The address of each card: that which is wanted, that which it had, or one by the VM's name that no other card has.
fn addresses(
    spec: &VmSpec,
    ids: &[DeviceId],
    former: Option<&Blueprint>,
) -> Result<Vec<MacAddress>, ResolveError> {
    let had = |id: &DeviceId| former?.nics().find(|(other, _)| *other == id).map(|(_, nic)| nic.mac);
    let mut given: Vec<Option<MacAddress>> =
        ids.iter().zip(&spec.nets).map(|(id, net)| net.mac.or_else(|| had(id))).collect();
    for index in 0..given.len() {
        if given[index].is_none() {
            let mut derived = (index..).map(|number| derived_mac(&spec.name, number));
            given[index] = derived.find(|mac| !given.contains(&Some(*mac)));
        }
    }
    let all: Vec<MacAddress> = given.into_iter().flatten().collect();
    for (index, mac) in all.iter().enumerate() {
        if let Some(before) = all[..index].iter().position(|other| other == mac) {
            let (first, second) = (ids[before].clone(), ids[index].clone());
            return Err(ResolveError::SameMac { first, second, mac: *mac });
        }
    }
    Ok(all)
}

fn chips(spec: &VmSpec) -> Vec<Chip> {
    let wanted = [
        Some(Chip::Serial),
        Some(Chip::Rtc),
        Some(Chip::Pit),
        Some(Chip::Keyboard),
        Some(Chip::AcpiPower),
        Some(Chip::AcpiEvents),
        spec.debug_exit.map(|port| Chip::DebugExit { port }),
        spec.exit_status.then_some(Chip::ExitStatus),
        Some(Chip::Panic),
    ];
    wanted.into_iter().flatten().collect()
}

/// The command line is that of the spec, else that of a unified kernel image, else one that fits.
fn boot(spec: &VmSpec, host: &HostFacts, devices: &[PciDevice]) -> Boot {
    let BootSpec::Kernel(kernel) = &spec.boot;
    let given = kernel.cmdline.as_ref().or(host.backends.command_line.as_ref());
    let command_line = given.cloned().unwrap_or_else(|| default_command_line(devices));
    Boot::Kernel { protocol: kernel.protocol, command_line }
}

/// What a kernel is told when nobody says anything: messages on the serial port; a panic resets the machine instead of
/// hanging; the first disk is the root.
fn default_command_line(devices: &[PciDevice]) -> String {
    let first = devices.iter().find_map(|device| match &device.kind {
        DeviceKind::Disk(disk) => Some(disk),
        _ => None,
    });
    let root = match first {
        Some(disk) if disk.readonly => " root=/dev/vda ro",
        Some(_) => " root=/dev/vda rw",
        None => "",
    };
    format!("console=ttyS0 panic=-1{root}")
}
