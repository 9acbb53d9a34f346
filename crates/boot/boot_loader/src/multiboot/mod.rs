//! Multiboot, versions 1 (specification 0.6.96) and 2 (2.0): 32-bit protected mode without paging, EAX with a
//! magic number, EBX at what the loader tells the kernel.
//!
//! ```text
//! the image's first KiB ─ header1 | header2 ─► Header ─► what is loaded where, the entry
//! command line, modules, memory map ─ info1 | info2 ─► the information structure in low memory
//! ```
//!
//! Command lines are passed on as they were given: neither version says that a file name comes first.
//! Not told, though a kernel may ask for them: symbols (the ELF section headers), the boot device, and what
//! only a BIOS or EFI knows.

mod fields;
mod header1;
mod header2;
mod info1;
mod info2;

use arch_model::x86_64::Registers;
use guest_memory::Slots;

pub(crate) use fields::{AddressFields, Relocation};

use crate::boot_data::{BOOT_INFO, BOOT_INFO_ROOM, basic_memory, write};
use crate::boot_file::LoadedModule;
use crate::state::{InitialState, RFLAGS_FIXED, protected_mode};
use crate::{BootConfig, KernelFault, LoadError};

/// Bytes of an image in which either version's header lies: those of version 2 (2.0, 3.1.1).
pub(crate) const SEARCH_SIZE: usize = header2::SEARCH_SIZE;

/// Word of the BIOS data area with the KiB of memory below 640 KiB (IBM PC AT Technical Reference, ROM BIOS
/// data area, 40:13). Xen takes the smaller of this and the basic memory information.
const BASE_MEMORY_KIB: u64 = 0x413;

/// How the loader calls itself.
const LOADER_NAME: &str = "Yagura";

/// The two protocols, of which nothing is compatible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

impl Version {
    /// As people call it.
    pub fn name(self) -> &'static str {
        match self {
            Version::One => "Multiboot",
            Version::Two => "Multiboot2",
        }
    }
}

/// What an image's header asks for, as far as it can be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// What to load where, in place of an ELF file's own segments.
    pub addresses: Option<AddressFields>,
    /// Where to enter, in place of an ELF file's own entry.
    pub entry: Option<u64>,
    /// The image may be moved.
    pub relocation: Option<Relocation>,
}

impl Header {
    /// The header in `head`, the image's first [`SEARCH_SIZE`] bytes, if there is one.
    pub fn find(version: Version, head: &[u8]) -> Result<Option<Header>, KernelFault> {
        let parse = |offset| match version {
            Version::One => header1::parse(head, offset),
            Version::Two => header2::parse(head, offset),
        };
        position(version, head).map(parse).transpose()
    }
}

/// Whether `head` holds a header of `version`, usable or not.
pub(crate) fn is_there(version: Version, head: &[u8]) -> bool {
    position(version, head).is_some()
}

/// Whether `head` holds a header that says where its image is loaded, so that it need be no ELF file.
pub(crate) fn has_addresses(head: &[u8]) -> bool {
    let has = |version| matches!(Header::find(version, head), Ok(Some(Header { addresses: Some(_), .. })));
    has(Version::Two) || has(Version::One)
}

fn position(version: Version, head: &[u8]) -> Option<usize> {
    match version {
        Version::One => header1::position(head),
        Version::Two => header2::position(head),
    }
}

/// What the information structure says about the image itself.
pub(crate) struct Entered {
    /// Guest-physical address of its first instruction.
    pub entry: u64,
    /// Where it was moved to, if it may be moved.
    pub load_base: Option<u64>,
}

/// Writes boot data and returns the state to enter the kernel with (0.6.96, 3.2; 2.0, 3.3).
pub(crate) fn prepare(
    version: Version,
    memory: &Slots,
    entered: &Entered,
    modules: &[LoadedModule<'_>],
    config: &BootConfig<'_>,
) -> Result<InitialState, LoadError> {
    let (magic, info) = match version {
        Version::One => (info1::MAGIC, info1::build(memory, modules, config)),
        Version::Two => (info2::MAGIC, info2::build(memory, entered, modules, config)),
    };
    if info.len() as u64 > BOOT_INFO_ROOM {
        return Err(LoadError::TooManyModules);
    }
    write(memory, BOOT_INFO, &info)?;
    write(memory, BASE_MEMORY_KIB, &(basic_memory(memory).lower_kib as u16).to_le_bytes())?;
    Ok(InitialState {
        registers: Registers {
            rip: entered.entry,
            rax: magic.into(),
            rbx: BOOT_INFO,
            rflags: RFLAGS_FIXED,
            ..Registers::default()
        },
        system: protected_mode(memory)?,
    })
}
