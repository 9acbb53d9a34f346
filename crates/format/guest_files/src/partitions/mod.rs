//! Partition tables: GPT, MBR with logical partitions, or none.

mod gpt;
mod mbr;

use std::io;

use crate::content::{Content, identify};
use crate::{ReadAt, Slice};

/// Sectors of disks, in bytes. A table does not say which it counts in.
const SECTOR_SIZES: [u32; 2] = [512, 4096];

/// Which kind of table a disk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// GUID partition table (UEFI chapter 5.3).
    Gpt,
    /// Master boot record.
    Mbr,
    /// None: a file system may fill the disk.
    None,
}

/// What a partition is meant for, by the type that its table states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionType {
    /// EFI system partition.
    Esp,
    /// Extended boot loader partition: `/boot`.
    ExtendedBoot,
    /// The root file system of Linux for this architecture.
    LinuxRoot(crate::Architecture),
    /// The root file system of Linux for an architecture that is not known here, or another file system of Linux.
    Linux,
    /// Swap space.
    LinuxSwap,
    /// LVM's physical volumes.
    LinuxLvm,
    /// Code of a boot loader, and no file system.
    BiosBoot,
    /// FreeBSD's.
    FreeBsd,
    /// OpenBSD's.
    OpenBsd,
    /// NetBSD's.
    NetBsd,
    /// Windows' data, or anybody's that is to be seen by it.
    Microsoft,
    /// Anything else.
    Other,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number, as Linux counts: `/dev/vda1` is 1.
    pub number: u32,
    /// Where it begins on the disk.
    pub start_bytes: u64,
    /// How long it is.
    pub len_bytes: u64,
    /// What it is meant for.
    pub kind: PartitionType,
    /// Its name; empty in tables that have none.
    pub name: String,
    /// As `root=PARTUUID=` names it.
    pub uuid: Option<String>,
}

/// The table of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionTable {
    /// Which kind.
    pub kind: TableKind,
    /// Which sectors it counts in, in bytes: 512 or 4096, by where its parts are. Nothing without a table.
    pub sector_bytes: Option<u32>,
    /// In the order of their numbers.
    pub partitions: Vec<Partition>,
    /// What was found wrong with it, for a person.
    pub notes: Vec<String>,
}

/// Reads a disk's partition table. Partitions that reach beyond the disk, and those of no length, are left out.
///
/// # Errors
///
/// When the disk cannot be read. A damaged table is none, or what is left of it.
pub fn read_partitions(disk: &dyn ReadAt) -> io::Result<PartitionTable> {
    if let Some(table) = gpt::read(disk)? {
        return Ok(table);
    }
    if let Some(table) = read_mbr(disk)? {
        return Ok(table);
    }
    let (partitions, notes) = (Vec::new(), Vec::new());
    Ok(PartitionTable { kind: TableKind::None, sector_bytes: None, partitions, notes })
}

/// An MBR lies in the first sector, however long that is: only what it leads to tells. Sectors of 512 bytes are meant
/// unless nothing known lies where they lead, and something does where those of 4096 bytes do.
fn read_mbr(disk: &dyn ReadAt) -> io::Result<Option<PartitionTable>> {
    let mut first = None;
    for sector_bytes in SECTOR_SIZES {
        let Some(table) = mbr::read(disk, sector_bytes)? else { continue };
        for partition in &table.partitions {
            let part = Slice::new(disk, partition.start_bytes, partition.len_bytes);
            if identify(&part)? != Content::Unknown {
                return Ok(Some(table));
            }
        }
        first = first.or(Some(table));
    }
    Ok(first)
}

/// Reads what lies at `at`, or nothing when the disk ends before.
fn read_there<const N: usize>(disk: &dyn ReadAt, at: u64) -> io::Result<Option<[u8; N]>> {
    if at.checked_add(N as u64).is_none_or(|end| end > disk.len_bytes()) {
        return Ok(None);
    }
    let mut bytes = [0; N];
    disk.read_at(at, &mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests;
