//! The PVH entry (Xen, `docs/misc/pvh.pandoc` and `xen/include/public/arch-x86/hvm/start_info.h`): 32-bit
//! protected mode without paging, EBX at the start info.

use arch_model::x86_64::{Registers, SystemRegisters};
use guest_memory::GuestMemory;

use crate::boot_data::{
    START_INFO, code_segment, data_segment, memory_map, no_local_table, task_segment, write, write_gdt,
};
use crate::initrd::LoadedInitrd;
use crate::state::{APIC_BASE_BOOT, CR0_BASE, InitialState, RFLAGS_FIXED};
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
    memory: &GuestMemory,
    entry: u32,
    command_line: u64,
    initrd: Option<LoadedInitrd>,
    config: &BootConfig<'_>,
) -> Result<InitialState, LoadError> {
    write(memory, START_INFO, &start_info(memory, command_line, initrd, config))?;
    Ok(InitialState {
        registers: Registers {
            rip: entry.into(),
            rbx: START_INFO,
            rflags: RFLAGS_FIXED,
            ..Registers::default()
        },
        system: system_registers(memory)?,
    })
}

/// The start info, its one module and its memory map, one behind the other.
fn start_info(
    memory: &GuestMemory,
    command_line: u64,
    initrd: Option<LoadedInitrd>,
    config: &BootConfig<'_>,
) -> Vec<u8> {
    let map = memory_map(memory);
    let modules = START_INFO + START_INFO_SIZE;
    let map_address = modules + MODULE_SIZE;
    let mut info = Vec::new();
    let mut put32 = |value: u32| info.extend_from_slice(&value.to_le_bytes());
    put32(MAGIC);
    put32(VERSION);
    put32(0);
    put32(u32::from(initrd.is_some()));
    let module_list = if initrd.is_some() { modules } else { 0 };
    let mut put64 = |value: u64| info.extend_from_slice(&value.to_le_bytes());
    put64(module_list);
    put64(command_line);
    put64(config.rsdp.map_or(0, |address| address.0));
    put64(map_address);
    // Number of entries and a reserved half.
    put64(map.len() as u64);
    let (address, size) = initrd.map_or((0, 0), |initrd| (initrd.address, initrd.size_bytes));
    [address, size, 0, 0].into_iter().for_each(&mut put64);
    for entry in &map {
        // Type and a reserved half.
        [entry.start, entry.size_bytes, u64::from(entry.kind)].into_iter().for_each(&mut put64);
    }
    info
}

fn system_registers(memory: &GuestMemory) -> Result<SystemRegisters, LoadError> {
    let data = data_segment();
    Ok(SystemRegisters {
        cs: code_segment(false),
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        tr: task_segment(),
        ldt: no_local_table(),
        gdt: write_gdt(memory, false)?,
        cr0: CR0_BASE,
        apic_base: APIC_BASE_BOOT,
        ..SystemRegisters::default()
    })
}
