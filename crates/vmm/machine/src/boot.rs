//! What a machine finds in its RAM when it is powered on, and where its first vCPU begins.

use acpi::AcpiConfig;
use arch_model::x86_64::CpuState;
use boot_loader::{BootConfig, BootProtocol, InitialState};
use guest_memory::{GuestAddress, Slots};
use vm_spec::blueprint::Boot;
use vm_spec::{Blueprint, Chip};

use crate::assemble::gpa_range;
use crate::backends::Backends;
use crate::error::BootError;
use crate::reset_vector;

/// Where vCPU 0 begins.
#[derive(Clone, Copy, Debug)]
pub struct Entry(InitialState);

impl Entry {
    /// Brings vCPU 0 from its power-on state to the kernel's entry.
    pub fn apply(&self, state: &mut CpuState) {
        state.registers = self.0.registers;
        state.system = self.0.system;
    }
}

/// Writes kernel, tables and what firmware there is into `memory`, the fresh RAM of the machine of `blueprint`.
pub fn load(blueprint: &Blueprint, memory: &Slots, backends: &Backends) -> Result<Entry, BootError> {
    reset_vector::write_to(memory).map_err(BootError::ResetVector)?;
    let tables = AcpiConfig {
        vcpus: blueprint.cpus.get(),
        ecam: gpa_range(blueprint.memory.ecam),
        mmio32: gpa_range(blueprint.memory.pci32),
        mmio64: Some(gpa_range(blueprint.memory.pci64)),
        serial: blueprint.chips.contains(&Chip::Serial),
        generation_id: blueprint.generation_id.map(GuestAddress),
    };
    let rsdp = Some(acpi::write_to(&tables, memory)?);
    let Boot::Kernel { protocol, command_line } = &blueprint.boot;
    let config = BootConfig {
        command_line,
        initrds: &backends.boot.initrds,
        modules: &backends.boot.modules,
        rsdp,
        protocol: forced_protocol(*protocol),
        zeroed_ram: true,
    };
    Ok(Entry(backends.boot.kernel.load(memory, &config)?.initial))
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
