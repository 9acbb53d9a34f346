//! Makes a FAT16 of a few files, in memory.

use std::collections::BTreeMap;

const SECTOR: usize = 512;
const RESERVED: usize = 1;
const TABLE_SECTORS: usize = 32;
const ROOT_ENTRIES: usize = 64;
const DATA_AT: usize = (RESERVED + TABLE_SECTORS) * SECTOR + ROOT_ENTRIES * 32;
/// FAT16 has 4085 clusters at least.
const CLUSTERS: usize = 4200;

struct Disk {
    bytes: Vec<u8>,
    next_cluster: usize,
}

/// A folder: its folders and its files.
#[derive(Default)]
struct Folder<'a> {
    folders: BTreeMap<&'a str, Folder<'a>>,
    files: Vec<(&'a str, &'a [u8])>,
}

/// A disk of these files, with the folders that their paths name.
pub fn fat_disk(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut root = Folder::default();
    for (path, bytes) in files {
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut folder = &mut root;
        for part in folders.split('/').filter(|part| !part.is_empty()) {
            folder = folder.folders.entry(part).or_default();
        }
        folder.files.push((name, bytes));
    }
    let mut disk = Disk { bytes: vec![0; DATA_AT + CLUSTERS * SECTOR], next_cluster: 2 };
    disk.boot_sector();
    let entries = disk.folder(&root);
    let root_at = (RESERVED + TABLE_SECTORS) * SECTOR;
    let len = entries.len().min(ROOT_ENTRIES * 32);
    disk.bytes[root_at..root_at + len].copy_from_slice(&entries[..len]);
    disk.bytes
}

impl Disk {
    fn boot_sector(&mut self) {
        let sectors = (self.bytes.len() / SECTOR) as u32;
        let boot = &mut self.bytes;
        boot[0] = 0xEB;
        for (at, value) in [(11, SECTOR), (14, RESERVED), (17, ROOT_ENTRIES), (22, TABLE_SECTORS)] {
            boot[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
        }
        boot[13] = 1;
        boot[16] = 1;
        boot[32..36].copy_from_slice(&sectors.to_le_bytes());
        boot[0x36..0x3B].copy_from_slice(b"FAT16");
        boot[510..512].copy_from_slice(&[0x55, 0xAA]);
    }

    /// Writes what is in a folder, and makes its entries.
    fn folder(&mut self, folder: &Folder<'_>) -> Vec<u8> {
        let mut entries = Vec::new();
        for (name, inner) in &folder.folders {
            let bytes = self.folder(inner);
            let first = self.store(&bytes);
            add_entry(&mut entries, name, first, 0, 0x10);
        }
        for (name, bytes) in &folder.files {
            let first = self.store(bytes);
            add_entry(&mut entries, name, first, bytes.len(), 0);
        }
        entries
    }

    /// Writes bytes to clusters of their own, and says which the first is.
    fn store(&mut self, bytes: &[u8]) -> usize {
        let first = self.next_cluster;
        let count = bytes.len().div_ceil(SECTOR).max(1).min(CLUSTERS - (first - 2));
        for (index, part) in bytes.chunks(SECTOR).take(count).enumerate() {
            let at = DATA_AT + (first - 2 + index) * SECTOR;
            self.bytes[at..at + part.len()].copy_from_slice(part);
        }
        for index in 0..count {
            let next = if index + 1 == count { 0xFFFF } else { first + index + 1 };
            let at = RESERVED * SECTOR + (first + index) * 2;
            self.bytes[at..at + 2].copy_from_slice(&(next as u16).to_le_bytes());
        }
        self.next_cluster += count;
        first
    }
}

/// Adds an entry with a long name.
fn add_entry(entries: &mut Vec<u8>, name: &str, first: usize, len: usize, attributes: u8) {
    let number = entries.len() / 32;
    let mut short = *b"F       ~  ";
    short[1..8].copy_from_slice(format!("{number:07}").as_bytes());
    let sum = short.iter().fold(0_u8, |sum, &byte| sum.rotate_right(1).wrapping_add(byte));
    let mut units: Vec<u16> = name.encode_utf16().collect();
    units.push(0);
    units.resize(units.len().next_multiple_of(13), 0xFFFF);
    let parts = units.len() / 13;
    for (index, part) in units.chunks(13).enumerate().rev() {
        let mut entry = [0; 32];
        entry[0] = index as u8 + 1 | if index + 1 == parts { 0x40 } else { 0 };
        entry[11] = 0x0F;
        entry[13] = sum;
        let places = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
        for (at, unit) in places.into_iter().zip(part) {
            entry[at..at + 2].copy_from_slice(&unit.to_le_bytes());
        }
        entries.extend_from_slice(&entry);
    }
    let mut entry = [0; 32];
    entry[..11].copy_from_slice(&short);
    entry[11] = attributes;
    entry[26..28].copy_from_slice(&(first as u16).to_le_bytes());
    entry[28..32].copy_from_slice(&(len as u32).to_le_bytes());
    entries.extend_from_slice(&entry);
}
