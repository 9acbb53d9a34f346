//! Loads a guest's kernel and initrd and says in which state vCPU 0 enters.
//!
//! ```text
//!  bzImage ── payload ── unpack ─┐                     ┌─ linux: zero page, page tables, 64-bit entry
//!                                ├─► elf ──► place ──► ┤
//!  ELF vmlinux or other kernel ──┘                     └─ pvh: start info, 32-bit entry
//! ```
//!
//! A bzImage's kernel is unpacked by us, straight into guest memory, and entered where the kernel's own
//! unpacker would enter it. It runs where it was linked to run: relocations, which that unpacker applies when
//! it moves the kernel to a random place, are not needed, and KASLR is not done on this path. A bzImage
//! without packed kernel (memtest86+) is loaded as it is and entered at its 64-bit entry.
//!
//! Files are the user's, but may come from anywhere: nothing in them makes the loader panic, run for long or
//! hold much memory. May depend on contracts only.

mod boot_data;
mod bzimage;
mod elf;
mod error;
mod identify;
mod initrd;
mod kernel;
mod linux;
mod place;
mod pvh;
mod source;
mod state;
#[cfg(test)]
mod tests;
mod unpack;

use guest_memory::GuestAddress;

pub use error::{FileFault, InitrdFault, KernelFault, LoadError, Size};
pub use initrd::Initrd;
pub use kernel::Kernel;
pub(crate) use source::Source;
pub use state::InitialState;

/// How a kernel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootProtocol {
    /// The 64-bit Linux boot protocol: long mode, RSI at the zero page.
    Linux64,
    /// Xen's PVH: 32-bit protected mode, EBX at the start info.
    Pvh,
}

/// What a kernel is to be told.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootConfig<'a> {
    /// Command line.
    pub command_line: &'a str,
    /// Initrd.
    pub initrd: Option<&'a Initrd>,
    /// Where the ACPI root pointer is.
    pub rsdp: Option<GuestAddress>,
    /// How to enter. Without a wish: a bzImage by the Linux protocol, an ELF file by PVH if it has such an
    /// entry, else by the Linux protocol.
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
