//! Loads a guest's kernel, initrd and modules and says in which state vCPU 0 enters.
//!
//! ```text
//!  bzImage ── payload ── unpack ─┐                     ┌─ linux: zero page, 64-bit or 32-bit entry
//!         └── its own code ──────┤                     │
//!  ELF file or Multiboot image, ─┼─► plan ──► place ──►┼─ pvh: start info, 32-bit entry
//!  as it is or packed            ┘                     └─ multiboot: information structure, 32-bit entry
//! ```
//!
//! A bzImage's kernel is unpacked by us, straight into guest memory, and entered where the kernel's own
//! unpacker would enter it. It runs where it was linked to run: relocations, which that unpacker applies when
//! it moves the kernel to a random place, are not needed, and KASLR is not done on this path. A bzImage
//! without packed kernel (memtest86+), or with one that we cannot unpack, is loaded as it is and entered at
//! its 64-bit entry, or at its 32-bit entry if it has no other.
//!
//! A unified kernel image is a kernel with initial RAM disks and a command line in one file: its sections are loaded
//! as if each were a file.
//!
//! Files are the user's, but may come from anywhere: nothing in them makes the loader panic, run for long or
//! hold much memory. May depend on contracts only.

mod boot_data;
mod boot_file;
mod bzimage;
mod elf;
mod error;
mod identify;
mod kernel;
mod linux;
mod multiboot;
mod place;
mod plan;
mod pvh;
mod source;
mod state;
#[cfg(test)]
mod tests;
mod unified;
mod unpack;

use guest_memory::GuestAddress;

pub use boot_file::{Initrd, Module};
pub use error::{BootFileFault, FileFault, KernelFault, LoadError};
pub use kernel::Kernel;
pub(crate) use source::Source;
pub use state::InitialState;

/// How a kernel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootProtocol {
    /// The Linux boot protocol: long mode, or 32-bit protected mode for what has no 64-bit entry; RSI at the
    /// zero page.
    Linux,
    /// Xen's PVH: 32-bit protected mode, EBX at the start info.
    Pvh,
    /// Multiboot, version 1: 32-bit protected mode, EBX at the information structure.
    Multiboot,
    /// Multiboot, version 2: the same with another structure.
    Multiboot2,
}

/// What a kernel is to be told.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootConfig<'a> {
    /// Command line.
    pub command_line: &'a str,
    /// Initial RAM disks, which become one, behind those that the kernel brings along; where there are modules, the
    /// first of them.
    pub initrds: &'a [Initrd],
    /// Modules.
    pub modules: &'a [Module],
    /// Where the ACPI root pointer is.
    pub rsdp: Option<GuestAddress>,
    /// How to enter. Without a wish: a bzImage by the Linux protocol; another file by PVH if it has such an
    /// entry, else by Multiboot of the highest version that it has, else (an ELF file) by the Linux protocol.
    pub protocol: Option<BootProtocol>,
    /// All of RAM is known to be zero (it was just allocated), so zeros need not be written. After a reset of
    /// the guest it is not.
    pub zeroed_ram: bool,
}

/// A kernel in guest memory, ready to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadedKernel {
    /// How it is entered.
    pub protocol: BootProtocol,
    /// Guest-physical address of its first instruction.
    pub entry: GuestAddress,
    /// Registers of vCPU 0.
    pub initial: InitialState,
}
