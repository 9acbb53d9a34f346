//! Where boot data lie in low memory, the memory map, and descriptors: what all ways to enter need.

use arch_model::x86_64::layout::{ECAM_BASE, ECAM_SIZE, HIGH_MEMORY_START, LOW_HOLE_START};
use arch_model::x86_64::{DescriptorTable, Segment};
use guest_memory::{Bytes, GuestAddress, Slots};

use crate::LoadError;
use crate::place::loadable_ram;

/// PVH start info with its module list and memory map behind it.
pub(crate) const START_INFO: u64 = 0x6000;
/// Global descriptor table.
pub(crate) const GDT: u64 = 0x6f00;
/// Linux's zero page.
pub(crate) const ZERO_PAGE: u64 = 0x7000;
/// Top of a stack of some hundred bytes, for entries that assume one.
pub(crate) const STACK_TOP: u64 = 0x8ff0;
/// Page tables: six pages.
pub(crate) const PAGE_TABLES: u64 = 0x9000;
/// Command line.
pub(crate) const COMMAND_LINE: u64 = 0x2_0000;
/// Room for the command line with its final zero, in bytes.
pub(crate) const COMMAND_LINE_ROOM: usize = 0x1_0000;

/// Multiboot's information structure with all that it points at, or the command lines of PVH's modules.
pub(crate) const BOOT_INFO: u64 = 0x3_0000;
/// Room for it in bytes: all command lines together.
pub(crate) const BOOT_INFO_ROOM: u64 = 0x3_0000;

/// Usable memory, in the numbers of e820 (ACPI 6.4, 15.2), PVH and Multiboot.
pub(crate) const MAP_RAM: u32 = 1;
/// Reserved addresses.
pub(crate) const MAP_RESERVED: u32 = 2;
/// More entries than fit into the zero page or before the GDT are not made.
const MAX_MAP_ENTRIES: usize = 64;

/// One line of the guest's memory map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapEntry {
    pub start: u64,
    pub size_bytes: u64,
    pub kind: u32,
}

/// The guest's memory map in ascending order: RAM but for the hole below 1 MiB, and what is reserved.
pub(crate) fn memory_map(memory: &Slots) -> Vec<MapEntry> {
    let entry = |start: u64, end: u64, kind| MapEntry { start, size_bytes: end - start, kind };
    let mut map = vec![
        entry(LOW_HOLE_START, HIGH_MEMORY_START, MAP_RESERVED),
        entry(ECAM_BASE, ECAM_BASE + ECAM_SIZE, MAP_RESERVED),
    ];
    for range in memory.ram_ranges() {
        let (start, end) = (range.start.0, range.start.0 + range.size_bytes);
        for (from, to) in [(0, LOW_HOLE_START), (HIGH_MEMORY_START, u64::MAX)] {
            let (from, to) = (start.max(from), end.min(to));
            if from < to {
                map.push(entry(from, to, MAP_RAM));
            }
        }
    }
    map.sort_unstable_by_key(|entry| entry.start);
    map.truncate(MAX_MAP_ENTRIES);
    map
}

/// RAM as computers had it: below the hole under 1 MiB, and from 1 MiB to the next hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BasicMemory {
    pub lower_kib: u32,
    pub upper_kib: u32,
}

/// The two amounts of `memory`.
pub(crate) fn basic_memory(memory: &Slots) -> BasicMemory {
    let (start, end) = loadable_ram(memory);
    let kib = |bytes: u64| (bytes >> 10) as u32;
    BasicMemory { lower_kib: kib(LOW_HOLE_START), upper_kib: kib(end - start) }
}

/// Selector of the code segment (Linux's `__BOOT_CS`).
const CODE_SELECTOR: u16 = 0x10;
/// Selector of the data segments (Linux's `__BOOT_DS`).
const DATA_SELECTOR: u16 = 0x18;
/// Selector of the task state.
const TASK_SELECTOR: u16 = 0x20;
/// Size of the smallest task state, less one (SDM vol. 3, 7.2.1).
const TASK_LIMIT: u32 = 0x67;

/// Segment types (SDM vol. 3, 3.4.5.1 and 3.5).
const CODE_ACCESSED: u8 = 0xb;
const DATA_ACCESSED: u8 = 0x3;
const TASK_BUSY: u8 = 0xb;
const LOCAL_TABLE: u8 = 0x2;

/// Code over all of memory, in 64-bit or 32-bit mode.
pub(crate) fn code_segment(long: bool) -> Segment {
    let flat = Segment { selector: CODE_SELECTOR, kind: CODE_ACCESSED, ..data_segment() };
    Segment { long, default_big: !long, ..flat }
}

/// Data over all of memory.
pub(crate) fn data_segment() -> Segment {
    Segment {
        selector: DATA_SELECTOR,
        limit: u32::MAX,
        kind: DATA_ACCESSED,
        code_or_data: true,
        present: true,
        default_big: true,
        granular: true,
        ..Segment::default()
    }
}

/// A task state that must be there but is never used.
pub(crate) fn task_segment() -> Segment {
    Segment {
        selector: TASK_SELECTOR,
        limit: TASK_LIMIT,
        kind: TASK_BUSY,
        present: true,
        ..Segment::default()
    }
}

/// No local descriptors.
pub(crate) fn no_local_table() -> Segment {
    Segment { kind: LOCAL_TABLE, unusable: true, ..Segment::default() }
}

/// Writes a descriptor table with the segments above, so that they can be loaded again.
pub(crate) fn write_gdt(memory: &Slots, long: bool) -> Result<DescriptorTable, LoadError> {
    // A task state's descriptor takes two places in 64-bit mode (SDM vol. 3, 7.2.3).
    let (code, data, task) =
        (descriptor(code_segment(long)), descriptor(data_segment()), descriptor(task_segment()));
    let table = [0, 0, code, data, task, 0];
    let bytes: Vec<u8> = table.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    write(memory, GDT, &bytes)?;
    Ok(DescriptorTable { base: GDT, limit: (bytes.len() - 1) as u16 })
}

/// A segment's eight bytes (SDM vol. 3, 3.4.5).
fn descriptor(segment: Segment) -> u64 {
    let limit = if segment.granular { segment.limit >> 12 } else { segment.limit };
    let (limit, base) = (u64::from(limit), segment.base);
    let bit = |flag: bool, position: u32| u64::from(flag) << position;
    (limit & 0xffff)
        | (base & 0xff_ffff) << 16
        | u64::from(segment.kind) << 40
        | bit(segment.code_or_data, 44)
        | u64::from(segment.dpl) << 45
        | bit(segment.present, 47)
        | (limit >> 16 & 0xf) << 48
        | bit(segment.available, 52)
        | bit(segment.long, 53)
        | bit(segment.default_big, 54)
        | bit(segment.granular, 55)
        | (base >> 24 & 0xff) << 56
}

/// Writes the command line with its final zero, unless it is empty. Its length was checked.
pub(crate) fn write_command_line(memory: &Slots, command_line: &str) -> Result<u64, LoadError> {
    if command_line.is_empty() {
        return Ok(0);
    }
    let mut bytes = command_line.as_bytes().to_vec();
    bytes.push(0);
    write(memory, COMMAND_LINE, &bytes)?;
    Ok(COMMAND_LINE)
}

/// Writes boot data to low memory.
pub(crate) fn write(memory: &Slots, address: u64, bytes: &[u8]) -> Result<(), LoadError> {
    memory.write_slice(bytes, GuestAddress(address)).map_err(LoadError::BootData)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_the_ones_that_linux_uses() {
        assert_eq!(descriptor(code_segment(true)), 0x00af_9b00_0000_ffff);
        assert_eq!(descriptor(code_segment(false)), 0x00cf_9b00_0000_ffff);
        assert_eq!(descriptor(data_segment()), 0x00cf_9300_0000_ffff);
        assert_eq!(descriptor(task_segment()), 0x0000_8b00_0000_0067);
    }
}
