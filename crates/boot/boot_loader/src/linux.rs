//! The Linux boot protocol (Linux, `Documentation/arch/x86/boot.rst`): a zero page and the state in which vCPU 0
//! enters the kernel, that of "64-bit BOOT PROTOCOL" with page tables for the first 4 GiB, or that of "32-bit
//! BOOT PROTOCOL".

use arch_model::x86_64::{Registers, SystemRegisters};
use guest_memory::{PAGE_SIZE, Slots};

use crate::boot_data::{
    MapEntry, PAGE_TABLES, STACK_TOP, ZERO_PAGE, code_segment, data_segment, memory_map, no_local_table,
    task_segment, write, write_gdt,
};
use crate::boot_file::LoadedModule;
use crate::bzimage::{SetupHeader, spec as header};
use crate::state::{
    APIC_BASE_BOOT, CR0_BASE, CR0_PAGING, CR4_PAE, EFER_LONG_MODE, InitialState, RFLAGS_FIXED, protected_mode,
};
use crate::{BootConfig, LoadError};

/// Fields of the zero page outside the setup header (Linux, `Documentation/arch/x86/zero-page.rst`).
mod zero_page {
    /// `acpi_rsdp_addr`
    pub const ACPI_RSDP_ADDR: usize = 0x070;
    /// `ext_ramdisk_image`: upper half of the initrd's address.
    pub const EXT_RAMDISK_IMAGE: usize = 0x0c0;
    /// `ext_ramdisk_size`: upper half of the initrd's size.
    pub const EXT_RAMDISK_SIZE: usize = 0x0c4;
    /// `e820_entries`
    pub const E820_ENTRIES: usize = 0x1e8;
    /// `e820_table`
    pub const E820_TABLE: usize = 0x2d0;
    /// Size of an entry of the table.
    pub const E820_ENTRY_SIZE: usize = 20;
}

/// `type_of_loader`: one without a number of its own.
const LOADER_UNKNOWN: u8 = 0xff;
/// `loadflags`: the kernel was placed at random (set by its own stub), and there is a heap (real mode).
const KASLR_OR_HEAP: u8 = 1 << 1 | 1 << 7;
/// `vid_mode`: normal.
const VID_MODE_NORMAL: u16 = 0xffff;
/// Protocol of the header that is made for a kernel without one.
const MADE_VERSION: u16 = 0x020f;
/// `kernel_alignment` that every x86-64 kernel can do with.
const MADE_ALIGNMENT: u32 = 0x20_0000;
/// Longest command line of every x86-64 kernel (`COMMAND_LINE_SIZE`), without its final zero.
pub(crate) const DEFAULT_CMDLINE_SIZE: u32 = 2047;
/// Where the initrd ends at the latest, for kernels that do not say it.
pub(crate) const DEFAULT_INITRD_ADDR_MAX: u32 = 0x7fff_ffff;

/// Page table entry: present and writable (SDM vol. 3, 4.5).
const PRESENT_WRITABLE: u64 = 0x3;
/// Page directory entry: a 2 MiB page.
const LARGE: u64 = 1 << 7;
/// Entries of a table.
const TABLE_ENTRIES: u64 = 512;
/// Page directories for 4 GiB.
const DIRECTORIES: u64 = 4;

/// Where a Linux kernel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Guest-physical address of its first instruction.
    pub address: u64,
    /// In 64-bit mode, else in 32-bit protected mode.
    pub long: bool,
    /// Where the protected-mode code lies, if it is that which is entered.
    pub code: Option<u64>,
}

/// Writes boot data and returns the state to enter the kernel with.
pub(crate) fn prepare(
    memory: &Slots,
    setup: Option<&SetupHeader>,
    entry: Entry,
    command_line: u64,
    initrd: Option<LoadedModule<'_>>,
    config: &BootConfig<'_>,
) -> Result<InitialState, LoadError> {
    let mut page = vec![0; PAGE_SIZE as usize];
    match setup {
        Some(setup) => put(&mut page, header::SETUP_SECTS, &setup.bytes),
        None => make_header(&mut page),
    }
    fill_header(&mut page, command_line, initrd);
    if let Some(code) = entry.code {
        put(&mut page, header::CODE32_START, &(code as u32).to_le_bytes());
    }
    put(&mut page, zero_page::ACPI_RSDP_ADDR, &config.rsdp.map_or(0, |address| address.0).to_le_bytes());
    fill_map(&mut page, &memory_map(memory));
    write(memory, ZERO_PAGE, &page)?;
    let system = if entry.long { long_mode(memory)? } else { protected_mode(memory)? };
    Ok(InitialState {
        registers: Registers {
            rip: entry.address,
            rsi: ZERO_PAGE,
            rsp: STACK_TOP,
            rflags: RFLAGS_FIXED,
            ..Registers::default()
        },
        system,
    })
}

fn put(page: &mut [u8], offset: usize, bytes: &[u8]) {
    page[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// The least that a kernel reads from the header, for one that came without.
fn make_header(page: &mut [u8]) {
    put(page, header::BOOT_FLAG, &header::BOOT_FLAG_VALUE);
    put(page, header::HEADER, &header::HEADER_VALUE);
    put(page, header::VERSION, &MADE_VERSION.to_le_bytes());
    put(page, header::KERNEL_ALIGNMENT, &MADE_ALIGNMENT.to_le_bytes());
    put(page, header::CMDLINE_SIZE, &DEFAULT_CMDLINE_SIZE.to_le_bytes());
    put(page, header::INITRD_ADDR_MAX, &DEFAULT_INITRD_ADDR_MAX.to_le_bytes());
    put(page, header::XLOADFLAGS, &header::XLF_KERNEL_64.to_le_bytes());
}

/// What the boot loader writes into the header. All addresses are below 4 GiB.
fn fill_header(page: &mut [u8], command_line: u64, initrd: Option<LoadedModule<'_>>) {
    put(page, header::VID_MODE, &VID_MODE_NORMAL.to_le_bytes());
    page[header::TYPE_OF_LOADER] = LOADER_UNKNOWN;
    page[header::LOADFLAGS] = page[header::LOADFLAGS] & !KASLR_OR_HEAP | header::LOADED_HIGH;
    put(page, header::SETUP_DATA, &0u64.to_le_bytes());
    put(page, header::CMD_LINE_PTR, &(command_line as u32).to_le_bytes());
    let (address, size) = initrd.map_or((0, 0), |initrd| (initrd.address, initrd.size_bytes));
    put(page, header::RAMDISK_IMAGE, &(address as u32).to_le_bytes());
    put(page, header::RAMDISK_SIZE, &(size as u32).to_le_bytes());
    put(page, zero_page::EXT_RAMDISK_IMAGE, &((address >> 32) as u32).to_le_bytes());
    put(page, zero_page::EXT_RAMDISK_SIZE, &((size >> 32) as u32).to_le_bytes());
}

fn fill_map(page: &mut [u8], map: &[MapEntry]) {
    page[zero_page::E820_ENTRIES] = map.len() as u8;
    for (index, entry) in map.iter().enumerate() {
        let at = zero_page::E820_TABLE + index * zero_page::E820_ENTRY_SIZE;
        put(page, at, &entry.start.to_le_bytes());
        put(page, at + 8, &entry.size_bytes.to_le_bytes());
        put(page, at + 16, &entry.kind.to_le_bytes());
    }
}

/// Identity map of the first 4 GiB: one PML4, one pointer table, four directories of 2 MiB pages.
fn page_tables() -> Vec<u8> {
    let table = |index: u64| (PAGE_TABLES + index * PAGE_SIZE) | PRESENT_WRITABLE;
    let mut entries = vec![0; (TABLE_ENTRIES * (2 + DIRECTORIES)) as usize];
    entries[0] = table(1);
    for directory in 0..DIRECTORIES {
        entries[(TABLE_ENTRIES + directory) as usize] = table(2 + directory);
    }
    for page in 0..TABLE_ENTRIES * DIRECTORIES {
        entries[(TABLE_ENTRIES * 2 + page) as usize] = page << 21 | LARGE | PRESENT_WRITABLE;
    }
    entries.into_iter().flat_map(u64::to_le_bytes).collect()
}

/// 64-bit mode on page tables of ours.
fn long_mode(memory: &Slots) -> Result<SystemRegisters, LoadError> {
    write(memory, PAGE_TABLES, &page_tables())?;
    let data = data_segment();
    Ok(SystemRegisters {
        cs: code_segment(true),
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        tr: task_segment(),
        ldt: no_local_table(),
        gdt: write_gdt(memory, true)?,
        cr0: CR0_BASE | CR0_PAGING,
        cr3: PAGE_TABLES,
        cr4: CR4_PAE,
        efer: EFER_LONG_MODE,
        apic_base: APIC_BASE_BOOT,
        ..SystemRegisters::default()
    })
}
