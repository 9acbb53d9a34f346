//! Why a machine could not be put together, or started.

use std::io;

use acpi::AcpiError;
use boot_loader::LoadError;
use guest_memory::{AllocateError, GuestMemoryError};
use pci::{AssignError, AttachError};
use vm_spec::DeviceId;
use vm_spec::blueprint::Misfit;

use crate::bus::Overlap;

/// Why a machine could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// RAM.
    #[error(transparent)]
    Memory(#[from] AllocateError),
    /// RAM of another size, or at other addresses.
    #[error("the RAM that is given is not that of the machine")]
    OtherRam,
    /// What is behind the devices is not what the guest was told.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// What is behind a device was not activated, or is nothing: a mistake of ours.
    #[error("device {0} has nothing active behind it")]
    NoBackend(DeviceId),
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
    /// A virtio device could not be made.
    #[error("cannot make device {id}")]
    Virtio {
        /// The device.
        id: DeviceId,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The console's input has no thread.
    #[error("cannot start the console's input")]
    Console(#[source] io::Error),
    /// A chip that each machine has is not in the description.
    #[error("the machine's description lacks {0}, which every machine has")]
    NoChip(&'static str),
}

/// Why a machine that was put together could not be started.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// Kernel, initrd, modules or command line.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The guest has no memory where firmware belongs.
    #[error("cannot write the reset vector's code to guest memory")]
    ResetVector(#[source] GuestMemoryError),
    /// ACPI tables.
    #[error(transparent)]
    Acpi(#[from] AcpiError),
    /// The guest has no memory where its generation id belongs.
    #[error("cannot write the generation id to guest memory")]
    GenerationId(#[source] GuestMemoryError),
}
