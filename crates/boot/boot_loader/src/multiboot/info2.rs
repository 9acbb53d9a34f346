//! The information structure of version 2 (Multiboot2 2.0, 3.4 to 3.6): a list of tags.

use guest_memory::{Bytes, GuestAddress, Slots};

use super::{Entered, LOADER_NAME};
use crate::BootConfig;
use crate::boot_data::{basic_memory, memory_map};
use crate::boot_file::LoadedModule;

/// EAX at the entry (3.3).
pub(super) const MAGIC: u32 = 0x36d7_6289;

/// Types of tags (3.6).
mod tag {
    pub const END: u32 = 0;
    pub const COMMAND_LINE: u32 = 1;
    pub const LOADER_NAME: u32 = 2;
    pub const MODULE: u32 = 3;
    pub const BASIC_MEMORY: u32 = 4;
    pub const MEMORY_MAP: u32 = 6;
    pub const ACPI_OLD_RSDP: u32 = 14;
    pub const ACPI_NEW_RSDP: u32 = 15;
    pub const LOAD_BASE: u32 = 21;
}

/// Tags begin at multiples of this.
const ALIGN: usize = 8;
/// Size of a line of the memory map, and version of its format (3.6.8).
const MAP_ENTRY: [u32; 2] = [24, 0];

/// The root pointer's first bytes (ACPI 6.4, 5.2.5.3).
const RSDP_SIGNATURE: &[u8] = b"RSD PTR ";
/// Offset of its revision; from 2 on it is the longer one.
const RSDP_REVISION: usize = 15;
/// Size of the root pointer of ACPI 1.0.
const OLD_RSDP_SIZE: usize = 20;
/// Size of the root pointer since.
const NEW_RSDP_SIZE: usize = 36;

/// The structure, to be put at a multiple of 8.
pub(super) fn build(
    memory: &Slots,
    entered: &Entered,
    modules: &[LoadedModule<'_>],
    config: &BootConfig<'_>,
) -> Vec<u8> {
    // Total size and a reserved word.
    let mut info = Info(vec![0; 8]);
    info.text(tag::COMMAND_LINE, &[], config.command_line);
    info.text(tag::LOADER_NAME, &[], LOADER_NAME);
    for module in modules {
        let end = module.address + module.size_bytes;
        info.text(tag::MODULE, &[module.address as u32, end as u32], module.command_line);
    }
    let basic = basic_memory(memory);
    info.tag(tag::BASIC_MEMORY, &[basic.lower_kib, basic.upper_kib], &[]);
    let entries = memory_map(memory).into_iter().flat_map(|entry| {
        // Start, size, type and a reserved half.
        [entry.start, entry.size_bytes, u64::from(entry.kind)].into_iter().flat_map(u64::to_le_bytes)
    });
    info.tag(tag::MEMORY_MAP, &MAP_ENTRY, &entries.collect::<Vec<u8>>());
    if let Some((kind, rsdp)) = config.rsdp.and_then(|address| read_rsdp(memory, address)) {
        info.tag(kind, &[], &rsdp);
    }
    if let Some(base) = entered.load_base {
        info.tag(tag::LOAD_BASE, &[base as u32], &[]);
    }
    info.tag(tag::END, &[], &[]);
    let size = info.0.len() as u32;
    info.0[..4].copy_from_slice(&size.to_le_bytes());
    info.0
}

/// A copy of the root pointer and the tag that it goes into.
fn read_rsdp(memory: &Slots, address: GuestAddress) -> Option<(u32, Vec<u8>)> {
    let mut rsdp = vec![0; NEW_RSDP_SIZE];
    memory.read_slice(&mut rsdp, address).ok()?;
    if !rsdp.starts_with(RSDP_SIGNATURE) {
        return None;
    }
    if rsdp[RSDP_REVISION] >= 2 {
        return Some((tag::ACPI_NEW_RSDP, rsdp));
    }
    rsdp.truncate(OLD_RSDP_SIZE);
    Some((tag::ACPI_OLD_RSDP, rsdp))
}

/// The structure while it grows.
struct Info(Vec<u8>);

impl Info {
    /// Adds a tag of `words` and the bytes behind them.
    fn tag(&mut self, kind: u32, words: &[u32], rest: &[u8]) {
        let size = 8 + 4 * words.len() + rest.len();
        let head = [kind, size as u32];
        self.0.extend(head.iter().chain(words).flat_map(|word| word.to_le_bytes()));
        self.0.extend_from_slice(rest);
        self.0.resize(self.0.len().next_multiple_of(ALIGN), 0);
    }

    /// Adds a tag of `words` and a text with its final zero.
    fn text(&mut self, kind: u32, words: &[u32], text: &str) {
        self.tag(kind, words, &[text.as_bytes(), &[0]].concat());
    }
}
