//! The PVH entry (Xen, `docs/misc/pvh.pandoc` and `xen/include/public/arch-x86/hvm/start_info.h`): 32-bit
//! protected mode without paging, EBX at the start info.

use arch_model::x86_64::Registers;
use guest_memory::Slots;

use crate::boot_data::{BOOT_INFO, BOOT_INFO_ROOM, GDT, START_INFO, memory_map, write};
use crate::boot_file::LoadedModule;
use crate::state::{InitialState, RFLAGS_FIXED, protected_mode};
use crate::{BootConfig, LoadError};

/// `XEN_HVM_START_MAGIC_VALUE`
const MAGIC: u32 = 0x336e_c578;
/// Version with a memory map.
const VERSION: u32 = 1;
/// Size of `struct hvm_start_info`.
const START_INFO_SIZE: u64 = 56;
/// Size of `struct hvm_modlist_entry`.
const MODULE_SIZE: u64 = 32;

/// Writes boot data and returns the state to enter the kernel at `entry` with.
pub(crate) fn prepare(
    memory: &Slots,
    entry: u64,
    command_line: u64,
    modules: &[LoadedModule<'_>],
    config: &BootConfig<'_>,
) -> Result<InitialState, LoadError> {
    let (list, lines) = module_list(modules);
    let info = start_info(memory, command_line, &list, config);
    if info.len() as u64 > GDT - START_INFO || lines.len() as u64 > BOOT_INFO_ROOM {
        return Err(LoadError::TooManyModules);
    }
    write(memory, START_INFO, &info)?;
    write(memory, BOOT_INFO, &lines)?;
    Ok(InitialState {
        registers: Registers { rip: entry, rbx: START_INFO, rflags: RFLAGS_FIXED, ..Registers::default() },
        system: protected_mode(memory)?,
    })
}

/// An entry for each module, and the command lines that they point at, to be put at [`BOOT_INFO`].
fn module_list(modules: &[LoadedModule<'_>]) -> (Vec<[u64; 4]>, Vec<u8>) {
    let (mut list, mut lines) = (Vec::new(), Vec::new());
    for LoadedModule { address, size_bytes, command_line } in modules {
        let mut line = 0;
        if !command_line.is_empty() {
            line = BOOT_INFO + lines.len() as u64;
            lines.extend_from_slice(command_line.as_bytes());
            lines.push(0);
        }
        list.push([*address, *size_bytes, line, 0]);
    }
    (list, lines)
}

/// The start info, the list of modules and the memory map, one behind the other.
fn start_info(memory: &Slots, command_line: u64, list: &[[u64; 4]], config: &BootConfig<'_>) -> Vec<u8> {
    let map = memory_map(memory);
    let modules = START_INFO + START_INFO_SIZE;
    let map_address = modules + list.len() as u64 * MODULE_SIZE;
    let mut info = Vec::new();
    let mut put32 = |value: u32| info.extend_from_slice(&value.to_le_bytes());
    put32(MAGIC);
    put32(VERSION);
    put32(0);
    put32(list.len() as u32);
    let mut put64 = |value: u64| info.extend_from_slice(&value.to_le_bytes());
    put64(if list.is_empty() { 0 } else { modules });
    put64(command_line);
    put64(config.rsdp.map_or(0, |address| address.0));
    put64(map_address);
    // Number of entries and a reserved half.
    put64(map.len() as u64);
    list.iter().flatten().copied().for_each(&mut put64);
    for entry in &map {
        // Type and a reserved half.
        [entry.start, entry.size_bytes, u64::from(entry.kind)].into_iter().for_each(&mut put64);
    }
    info
}
