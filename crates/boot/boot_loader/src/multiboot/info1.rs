//! The information structure of version 1 (Multiboot 0.6.96, 3.3), with all that it points at behind it.

use guest_memory::Slots;

use super::LOADER_NAME;
use crate::BootConfig;
use crate::boot_data::{BOOT_INFO, MapEntry, basic_memory, memory_map};
use crate::boot_file::LoadedModule;

/// EAX at the entry (3.2).
pub(super) const MAGIC: u32 = 0x2bad_b002;

/// Offsets of fields.
mod field {
    pub const FLAGS: usize = 0;
    pub const MEM_LOWER: usize = 4;
    pub const MEM_UPPER: usize = 8;
    pub const CMDLINE: usize = 16;
    pub const MODS_COUNT: usize = 20;
    pub const MODS_ADDR: usize = 24;
    pub const MMAP_LENGTH: usize = 44;
    pub const MMAP_ADDR: usize = 48;
    pub const BOOT_LOADER_NAME: usize = 64;
    /// Behind the last field.
    pub const END: usize = 116;
}

/// `flags`: which fields are there.
mod flag {
    pub const MEMORY: u32 = 1 << 0;
    pub const CMDLINE: u32 = 1 << 2;
    pub const MODULES: u32 = 1 << 3;
    pub const MAP: u32 = 1 << 6;
    pub const LOADER_NAME: u32 = 1 << 9;
}

/// The structure and what it points at, to be put at [`BOOT_INFO`].
pub(super) fn build(memory: &Slots, modules: &[LoadedModule<'_>], config: &BootConfig<'_>) -> Vec<u8> {
    let mut info = Info(vec![0; field::END]);
    let basic = basic_memory(memory);
    let map: Vec<u8> = memory_map(memory).iter().flat_map(map_entry).collect();
    let map_address = info.append(&map);
    let command_line = info.append_text(config.command_line);
    let loader = info.append_text(LOADER_NAME);
    let lines: Vec<u32> = modules.iter().map(|module| info.append_text(module.command_line)).collect();
    let entries = modules.iter().zip(lines).flat_map(|(module, line)| module_entry(module, line));
    let entries: Vec<u8> = entries.collect();
    let mods_address = info.append(&entries);
    let listed = if modules.is_empty() { 0 } else { flag::MODULES };
    info.set(field::FLAGS, flag::MEMORY | flag::CMDLINE | flag::MAP | flag::LOADER_NAME | listed);
    info.set(field::MEM_LOWER, basic.lower_kib);
    info.set(field::MEM_UPPER, basic.upper_kib);
    info.set(field::CMDLINE, command_line);
    info.set(field::MODS_COUNT, modules.len() as u32);
    info.set(field::MODS_ADDR, mods_address);
    info.set(field::MMAP_LENGTH, map.len() as u32);
    info.set(field::MMAP_ADDR, map_address);
    info.set(field::BOOT_LOADER_NAME, loader);
    info.0
}

/// Size of the rest, start, size, type. The first is not counted in itself.
fn map_entry(entry: &MapEntry) -> Vec<u8> {
    const REST: u32 = 20;
    let MapEntry { start, size_bytes, kind } = entry;
    let rest = [start.to_le_bytes(), size_bytes.to_le_bytes()].concat();
    [&REST.to_le_bytes()[..], &rest, &kind.to_le_bytes()].concat()
}

/// Start, address behind the end, string, a reserved word. Modules lie below 4 GiB.
fn module_entry(module: &LoadedModule<'_>, line: u32) -> [u8; 16] {
    let mut entry = [0; 16];
    entry[..4].copy_from_slice(&(module.address as u32).to_le_bytes());
    entry[4..8].copy_from_slice(&((module.address + module.size_bytes) as u32).to_le_bytes());
    entry[8..12].copy_from_slice(&line.to_le_bytes());
    entry
}

/// The structure while it grows.
struct Info(Vec<u8>);

impl Info {
    fn set(&mut self, offset: usize, value: u32) {
        self.0[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// Puts `bytes` behind what there is, at a multiple of 8, and says where.
    fn append(&mut self, bytes: &[u8]) -> u32 {
        let at = self.0.len().next_multiple_of(8);
        self.0.resize(at, 0);
        self.0.extend_from_slice(bytes);
        (BOOT_INFO + at as u64) as u32
    }

    fn append_text(&mut self, text: &str) -> u32 {
        let at = self.append(text.as_bytes());
        self.0.push(0);
        at
    }
}
