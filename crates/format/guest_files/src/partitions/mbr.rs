//! Master boot records: four primary partitions, and a chain of logical ones in an extended one.

use std::io;

use super::{Partition, PartitionTable, PartitionType, TableKind, read_there};
use crate::ReadAt;
use crate::bytes::Bytes;

const DISK_SIGNATURE_AT: usize = 440;
const ENTRIES_AT: usize = 446;
const ENTRY_SIZE: usize = 16;
const TYPE_AT: usize = 4;
const FIRST_SECTOR_AT: usize = 8;
const SECTOR_COUNT_AT: usize = 12;
const FIRST_LOGICAL: u32 = 5;
/// What Linux takes at most, and an end to chains that lead in circles.
const LOGICAL_LIMIT: u32 = 60;

/// What a GPT leaves in the MBR, so that old tools keep off.
const PROTECTIVE: u8 = 0xEE;
const EXTENDED: [u8; 3] = [0x05, 0x0F, 0x85];

#[derive(Clone, Copy)]
struct Entry {
    kind: u8,
    first: u64,
    count: u64,
    bootable: u8,
}

/// Reads a table that counts in sectors of `sector_bytes`; nothing when there is none.
pub(super) fn read(disk: &dyn ReadAt, sector_bytes: u32) -> io::Result<Option<PartitionTable>> {
    let Some(sector) = read_there::<512>(disk, 0)? else { return Ok(None) };
    let entries = entries(&sector);
    // A file system's boot sector has the same signature, and code or text where entries would be.
    let sound = sector[510..] == [0x55, 0xAA] && entries.iter().all(|entry| entry.bootable & 0x7F == 0);
    let used: Vec<(u32, Entry)> = (1..).zip(entries).filter(|(_, entry)| entry.is_used()).collect();
    if !sound || used.is_empty() || !used.iter().any(|(_, entry)| entry.is_on(disk, sector_bytes)) {
        return Ok(None);
    }
    let mut table = PartitionTable {
        kind: TableKind::Mbr,
        sector_bytes: Some(sector_bytes),
        partitions: Vec::new(),
        notes: Vec::new(),
    };
    let signature = Bytes(&sector).le32(DISK_SIGNATURE_AT).unwrap_or(0);
    let mut logical = FIRST_LOGICAL;
    for (number, entry) in used {
        if entry.kind == PROTECTIVE {
            table.notes.push("the disk had a GPT, and both copies of it are damaged".to_owned());
        } else if EXTENDED.contains(&entry.kind) {
            read_logical(disk, sector_bytes, entry, signature, &mut logical, &mut table)?;
        } else if entry.is_on(disk, sector_bytes) {
            table.partitions.push(entry.partition(number, signature, sector_bytes));
        }
    }
    table.partitions.sort_by_key(|partition| partition.number);
    Ok(Some(table))
}

/// Follows the chain of an extended partition: each link holds a partition, counted from the link, and the next
/// link, counted from the extended partition's start.
fn read_logical(
    disk: &dyn ReadAt,
    sector_bytes: u32,
    extended: Entry,
    signature: u32,
    number: &mut u32,
    table: &mut PartitionTable,
) -> io::Result<()> {
    let mut link = extended.first;
    while *number < FIRST_LOGICAL + LOGICAL_LIMIT {
        let Some(sector) = read_there::<512>(disk, link.saturating_mul(u64::from(sector_bytes)))? else {
            break;
        };
        if sector[510..] != [0x55, 0xAA] {
            break;
        }
        let [mut entry, next, ..] = entries(&sector);
        entry.first += link;
        if entry.is_used() && entry.is_on(disk, sector_bytes) {
            table.partitions.push(entry.partition(*number, signature, sector_bytes));
        }
        *number += 1;
        if next.first == 0 || !EXTENDED.contains(&next.kind) {
            return Ok(());
        }
        link = extended.first + next.first;
    }
    table.notes.push("the chain of logical partitions does not end as it should".to_owned());
    Ok(())
}

fn entries(sector: &[u8; 512]) -> [Entry; 4] {
    std::array::from_fn(|index| {
        let at = ENTRIES_AT + index * ENTRY_SIZE;
        let number = |field: usize| u64::from(Bytes(sector).le32(at + field).unwrap_or(0));
        Entry {
            kind: sector[at + TYPE_AT],
            first: number(FIRST_SECTOR_AT),
            count: number(SECTOR_COUNT_AT),
            bootable: sector[at],
        }
    })
}

impl Entry {
    fn is_used(&self) -> bool {
        self.kind != 0 && self.count != 0
    }

    /// Whether it begins on the disk; images are sometimes cut at their end, and the file system decides then.
    fn is_on(&self, disk: &dyn ReadAt, sector_bytes: u32) -> bool {
        self.first > 0 && self.first < disk.len_bytes() / u64::from(sector_bytes)
    }

    fn partition(&self, number: u32, signature: u32, sector_bytes: u32) -> Partition {
        Partition {
            number,
            start_bytes: self.first * u64::from(sector_bytes),
            len_bytes: self.count * u64::from(sector_bytes),
            kind: match self.kind {
                0xEF => PartitionType::Esp,
                0xEA => PartitionType::ExtendedBoot,
                0x83 => PartitionType::Linux,
                0x82 => PartitionType::LinuxSwap,
                0x8E => PartitionType::LinuxLvm,
                0xA5 => PartitionType::FreeBsd,
                0xA6 => PartitionType::OpenBsd,
                0xA9 => PartitionType::NetBsd,
                0x07 => PartitionType::Microsoft,
                _ => PartitionType::Other,
            },
            name: String::new(),
            uuid: Some(format!("{signature:08x}-{number:02x}")),
        }
    }
}
