//! Tables that count in sectors of either size.

use super::*;

const DISK_BYTES: usize = 8 << 20;
/// A type of Linux's, as it lies in a table.
const LINUX: [u8; 16] =
    [0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4];

/// One copy of a GPT with a partition of one MiB from the first on: the header at `lba`, its entries at `entries_lba`.
fn put_gpt(disk: &mut [u8], sector: usize, lba: usize, entries_lba: usize) {
    let mut entries = vec![0; 128 * 128];
    entries[..16].copy_from_slice(&LINUX);
    entries[16] = 1;
    entries[32..40].copy_from_slice(&((1 << 20) / sector as u64).to_le_bytes());
    entries[40..48].copy_from_slice(&((2 << 20) / sector as u64 - 1).to_le_bytes());
    let mut header = vec![0; 92];
    header[..8].copy_from_slice(b"EFI PART");
    for (at, value) in [(8, 1 << 16), (12, 92), (80, 128), (84, 128), (88, crc32fast::hash(&entries))] {
        header[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
    }
    header[24..32].copy_from_slice(&(lba as u64).to_le_bytes());
    header[72..80].copy_from_slice(&(entries_lba as u64).to_le_bytes());
    let crc = crc32fast::hash(&header);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    disk[entries_lba * sector..][..entries.len()].copy_from_slice(&entries);
    disk[lba * sector..][..sector].fill(0);
    disk[lba * sector..][..header.len()].copy_from_slice(&header);
}

fn put_primary(disk: &mut [u8], sector: usize) {
    put_gpt(disk, sector, 1, 2);
}

fn put_backup(disk: &mut [u8], sector: usize) {
    let last = disk.len() / sector - 1;
    put_gpt(disk, sector, last, last - 128 * 128 / sector);
}

/// An MBR of which only the sectors' size is left open, with partitions at these sectors.
fn put_mbr(disk: &mut [u8], partitions: &[(u8, u32, u32)]) {
    for (index, (kind, first, count)) in partitions.iter().enumerate() {
        let entry = &mut disk[446 + index * 16..][..16];
        entry[4] = *kind;
        entry[8..12].copy_from_slice(&first.to_le_bytes());
        entry[12..16].copy_from_slice(&count.to_le_bytes());
    }
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
}

fn put_ext4(disk: &mut [u8], at: usize) {
    disk[at + 1080..at + 1082].copy_from_slice(&[0x53, 0xef]);
}

fn read(disk: &impl ReadAt) -> PartitionTable {
    read_partitions(disk).unwrap()
}

#[test]
fn a_gpt_says_in_which_sectors_it_counts() {
    for sector in [512, 4096] {
        let other = if sector == 512 { 4096 } else { 512 };
        let place = |table: &PartitionTable| {
            let [partition] = table.partitions.as_slice() else { panic!("{table:?}") };
            (table.kind, table.sector_bytes, partition.start_bytes, partition.len_bytes)
        };
        let expected = (TableKind::Gpt, Some(sector as u32), 1 << 20, 1 << 20);
        let mut both = vec![0; DISK_BYTES];
        put_primary(&mut both, sector);
        put_backup(&mut both, sector);
        assert_eq!(place(&read(&both)), expected);
        assert!(read(&both).notes.is_empty());
        // What is left of another table at the end counts less than a sound one at the front.
        let mut stale = vec![0; DISK_BYTES];
        put_backup(&mut stale, other);
        put_primary(&mut stale, sector);
        assert_eq!(place(&read(&stale)), expected);
        // The front is damaged.
        let mut damaged = vec![0; DISK_BYTES];
        put_primary(&mut damaged, other);
        damaged[other + 20] ^= 1;
        put_backup(&mut damaged, sector);
        assert_eq!(place(&read(&damaged)), expected);
        assert!(read(&damaged).notes[0].contains("its copy at the end was taken"));
        // The disk was made larger, and the copy stays where it was.
        both.resize(2 * DISK_BYTES, 0);
        assert_eq!(place(&read(&both)), expected);
        assert!(read(&both).notes.is_empty());
    }
}

#[test]
fn what_an_mbr_leads_to_says_in_which_sectors_it_counts() {
    let table = |puts: &[usize], partitions: &[(u8, u32, u32)]| {
        let mut disk = vec![0; DISK_BYTES];
        put_mbr(&mut disk, partitions);
        puts.iter().for_each(|at| put_ext4(&mut disk, *at));
        read(&disk)
    };
    let linux = &[(0x83, 256, 256)];
    for (puts, sector) in [
        (&[256 * 512][..], 512),
        (&[256 * 4096], 4096),
        (&[256 * 512, 256 * 4096], 512),
        // Nothing that is known: what most disks have.
        (&[], 512),
    ] {
        let found = table(puts, linux);
        assert_eq!((found.kind, found.sector_bytes), (TableKind::Mbr, Some(sector)), "{puts:?}");
        assert_eq!(found.partitions[0].start_bytes, 256 * u64::from(sector));
        assert_eq!(found.partitions[0].len_bytes, 256 * u64::from(sector));
    }
    // Any of several tells, also of those that are logical.
    let found = table(&[512 * 4096], &[(0x83, 256, 16), (0x83, 512, 16)]);
    assert_eq!(found.sector_bytes, Some(4096));
    let mut disk = vec![0; DISK_BYTES];
    put_mbr(&mut disk, &[(0x05, 512, 1024)]);
    let mut link = vec![0; 512];
    put_mbr(&mut link, &[(0x83, 8, 64)]);
    disk[512 * 4096..][..512].copy_from_slice(&link);
    put_ext4(&mut disk, 520 * 4096);
    let found = read(&disk);
    assert_eq!((found.sector_bytes, found.partitions[0].start_bytes), (Some(4096), 520 * 4096));
}

#[test]
fn a_disk_without_a_table_counts_in_nothing() {
    for mut disk in [Vec::new(), vec![0; 512], vec![0; DISK_BYTES]] {
        assert_eq!((read(&disk).kind, read(&disk).sector_bytes), (TableKind::None, None));
        if disk.len() > 4096 {
            put_ext4(&mut disk, 0);
            assert_eq!(read(&disk).sector_bytes, None);
        }
    }
}
