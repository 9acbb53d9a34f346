//! GUID partition tables (UEFI 2.10 chapter 5.3). The crate `gpt` wants a disk that can be written to, and
//! allocates as much as a header says.

use std::io;

use super::{Partition, PartitionTable, PartitionType, SECTOR_SIZES, TableKind, read_there};
use crate::bytes::{Bytes, guid_text};
use crate::{Architecture, FsError, ReadAt};

/// A header's fields (table 5.5).
const SIGNATURE: &[u8] = b"EFI PART";
const HEADER_SIZE_AT: usize = 12;
const HEADER_CRC_AT: usize = 16;
const THIS_LBA_AT: usize = 24;
const ENTRIES_LBA_AT: usize = 72;
const ENTRY_COUNT_AT: usize = 80;
const ENTRY_SIZE_AT: usize = 84;
const ENTRIES_CRC_AT: usize = 88;
const HEADER_SIZE: usize = 92;

/// An entry's fields (table 5.6).
const TYPE_AT: usize = 0;
const UNIQUE_AT: usize = 16;
const FIRST_LBA_AT: usize = 32;
const LAST_LBA_AT: usize = 40;
const NAME_AT: usize = 56;
const NAME_LEN: usize = 72;
const ENTRY_SIZE: usize = 128;

/// More entries, and larger ones, than any tool makes.
const ENTRY_COUNT_LIMIT: u32 = 1024;
const ENTRY_SIZE_LIMIT: u32 = 4096;

/// The types that matter (UEFI table 5.7, the Discoverable Partitions Specification, and the systems' own).
const TYPES: &[(&str, PartitionType)] = &[
    ("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", PartitionType::Esp),
    ("bc13c2ff-59e6-4262-a352-b275fd6f7172", PartitionType::ExtendedBoot),
    ("4f68bce3-e8cd-4db1-96e7-fbcaf984b709", PartitionType::LinuxRoot(Architecture::X86_64)),
    ("b921b045-1df0-41c3-af44-4c6f280d3fae", PartitionType::LinuxRoot(Architecture::Aarch64)),
    ("72ec70a6-cf74-40e6-bd49-4bda08e8f224", PartitionType::LinuxRoot(Architecture::Riscv64)),
    ("0fc63daf-8483-4772-8e79-3d69d8477de4", PartitionType::Linux),
    ("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", PartitionType::LinuxSwap),
    ("e6d6d379-f507-44c2-a23c-238f2a3df928", PartitionType::LinuxLvm),
    ("21686148-6449-6e6f-744e-656564454649", PartitionType::BiosBoot),
    ("516e7cb4-6ecf-11d6-8ff8-00022d09712b", PartitionType::FreeBsd),
    ("516e7cb5-6ecf-11d6-8ff8-00022d09712b", PartitionType::FreeBsd),
    ("516e7cb6-6ecf-11d6-8ff8-00022d09712b", PartitionType::FreeBsd),
    ("516e7cba-6ecf-11d6-8ff8-00022d09712b", PartitionType::FreeBsd),
    ("83bd6b9d-7f41-11dc-be0b-001560b84f0f", PartitionType::FreeBsd),
    ("824cc7a0-36a8-11e3-890a-952519ad3f61", PartitionType::OpenBsd),
    ("49f48d5a-b10e-11dc-b99b-0019d1879648", PartitionType::NetBsd),
    ("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", PartitionType::Microsoft),
    ("e3c9e316-0b5c-4db8-817d-f92df00215ae", PartitionType::Microsoft),
    ("de94bba4-06d1-4d40-a16a-bfd50179d6ac", PartitionType::Microsoft),
];

/// Reads the primary table, or the backup when that is damaged. Nothing when there is neither. A table of other sectors
/// may have been there before: what is left of it at the end counts less than what is at the front.
pub(super) fn read(disk: &dyn ReadAt) -> io::Result<Option<PartitionTable>> {
    let table = |sector_bytes, partitions, notes| PartitionTable {
        kind: TableKind::Gpt,
        sector_bytes: Some(sector_bytes),
        partitions,
        notes,
    };
    for sector_bytes in SECTOR_SIZES {
        if let Some(partitions) = read_copy(disk, u64::from(sector_bytes), 1)? {
            return Ok(Some(table(sector_bytes, partitions, Vec::new())));
        }
    }
    for sector_bytes in SECTOR_SIZES {
        let last = (disk.len_bytes() / u64::from(sector_bytes)).saturating_sub(1);
        if last > 1
            && let Some(partitions) = read_copy(disk, u64::from(sector_bytes), last)?
        {
            let note =
                "the partition table at the front of the disk is damaged; its copy at the end was taken";
            return Ok(Some(table(sector_bytes, partitions, vec![note.to_owned()])));
        }
    }
    Ok(None)
}

/// The table whose header is at `lba`, if it is sound.
fn read_copy(disk: &dyn ReadAt, sector_bytes: u64, lba: u64) -> io::Result<Option<Vec<Partition>>> {
    let Some(sector) = read_there::<512>(disk, lba * sector_bytes)? else { return Ok(None) };
    let Ok(Some(header)) = Header::parse(&sector, lba) else { return Ok(None) };
    let Some(at) = header.entries_lba.checked_mul(sector_bytes) else { return Ok(None) };
    let len = u64::from(header.entry_count) * u64::from(header.entry_size);
    if at.checked_add(len).is_none_or(|end| end > disk.len_bytes()) {
        return Ok(None);
    }
    // At most 4 MiB, and the disk has them.
    let mut entries = vec![0; usize::try_from(len).unwrap_or(0)];
    disk.read_at(at, &mut entries)?;
    if crc32fast::hash(&entries) != header.entries_crc && !cfg!(fuzzing) {
        return Ok(None);
    }
    let disk_sectors = disk.len_bytes() / sector_bytes;
    let entries = (1..).zip(entries.chunks(header.entry_size as usize));
    Ok(Some(
        entries
            .filter_map(|(number, entry)| partition(number, Bytes(entry), sector_bytes, disk_sectors))
            .collect(),
    ))
}

struct Header {
    entries_lba: u64,
    entry_count: u32,
    entry_size: u32,
    entries_crc: u32,
}

impl Header {
    /// Nothing when it is not one, or not one that stands at `lba`.
    fn parse(sector: &[u8; 512], lba: u64) -> Result<Option<Header>, FsError> {
        let header = Bytes(sector);
        let size = header.le32(HEADER_SIZE_AT)? as usize;
        if !sector.starts_with(SIGNATURE) || !(HEADER_SIZE..=sector.len()).contains(&size) {
            return Ok(None);
        }
        let mut checked = sector[..size].to_vec();
        checked[HEADER_CRC_AT..HEADER_CRC_AT + 4].fill(0);
        let is_right = crc32fast::hash(&checked) == header.le32(HEADER_CRC_AT)? || cfg!(fuzzing);
        if !is_right || header.le64(THIS_LBA_AT)? != lba {
            return Ok(None);
        }
        let entry_count = header.le32(ENTRY_COUNT_AT)?;
        let entry_size = header.le32(ENTRY_SIZE_AT)?;
        if entry_count > ENTRY_COUNT_LIMIT || !(ENTRY_SIZE as u32..=ENTRY_SIZE_LIMIT).contains(&entry_size) {
            return Ok(None);
        }
        let (entries_lba, entries_crc) = (header.le64(ENTRIES_LBA_AT)?, header.le32(ENTRIES_CRC_AT)?);
        Ok(Some(Header { entries_lba, entry_count, entry_size, entries_crc }))
    }
}

/// The partition of an entry; nothing when it is unused or not on the disk.
fn partition(number: u32, entry: Bytes<'_>, sector_bytes: u64, disk_sectors: u64) -> Option<Partition> {
    let kind: [u8; 16] = entry.array(TYPE_AT).ok()?;
    let first = entry.le64(FIRST_LBA_AT).ok()?;
    let end = entry.le64(LAST_LBA_AT).ok()?.checked_add(1)?;
    if kind == [0; 16] || first == 0 || first >= end || end > disk_sectors {
        return None;
    }
    let kind = guid_text(&kind);
    let kind = TYPES.iter().find(|(guid, _)| *guid == kind).map_or(PartitionType::Other, |&(_, kind)| kind);
    Some(Partition {
        number,
        start_bytes: first * sector_bytes,
        len_bytes: (end - first) * sector_bytes,
        kind,
        name: name(entry.slice(NAME_AT, NAME_LEN).ok()?),
        uuid: Some(guid_text(&entry.array(UNIQUE_AT).ok()?)),
    })
}

fn name(field: &[u8]) -> String {
    let units = field.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    let units: Vec<u16> = units.take_while(|&unit| unit != 0).collect();
    String::from_utf16_lossy(&units)
}
