//! Partition tables: GPT, MBR with logical partitions, or none.

mod gpt;
mod mbr;

use std::io;

use crate::ReadAt;

/// Sectors of the disks whose tables are read. Disks with sectors of 4096 bytes are found by their GPT.
const SECTOR_BYTES: u64 = 512;

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
    if let Some(table) = mbr::read(disk)? {
        return Ok(table);
    }
    Ok(PartitionTable { kind: TableKind::None, partitions: Vec::new(), notes: Vec::new() })
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
