//! Directories: short names, and long ones in entries before them (section 6 and 7).

use super::{ENTRY_BYTES, Node};
use crate::FsError;
use crate::bytes::Bytes;

const ATTRIBUTES_AT: usize = 11;
const CASE_AT: usize = 12;
const CHECKSUM_AT: usize = 13;
const CLUSTER_HIGH_AT: usize = 20;
const CLUSTER_LOW_AT: usize = 26;
const SIZE_AT: usize = 28;

const VOLUME_ID: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
/// The attributes of a part of a long name, out of those that count.
const LONG_NAME: u8 = 0x0F;
const ATTRIBUTE_MASK: u8 = 0x3F;

const FREE: u8 = 0xE5;
/// Stands for a first byte of 0xE5.
const KANJI_E5: u8 = 0x05;
const LAST_PART: u8 = 0x40;
/// Where the 13 characters of a part are.
const PART_CHARACTERS: [(usize, usize); 3] = [(1, 5), (14, 6), (28, 2)];
const PART_LIMIT: usize = 20;
/// Small letters of the name and of the extension, as Linux and Windows keep them.
const SMALL_NAME: u8 = 0x08;
const SMALL_EXTENSION: u8 = 0x10;

/// An entry.
pub(super) struct Entry {
    /// The long name, or the short one where there is none.
    pub(super) name: String,
    pub(super) short_name: String,
    pub(super) node: Node,
    pub(super) is_label: bool,
}

/// Calls `each` for the entries in a directory's bytes, up to the end that they mark; `.` and `..` are left out.
pub(super) fn each(bytes: &[u8], each: &mut dyn FnMut(Entry) -> Result<(), FsError>) -> Result<(), FsError> {
    let mut long = LongName::default();
    for entry in bytes.chunks_exact(ENTRY_BYTES as usize) {
        match entry[0] {
            0 => break,
            FREE => long = LongName::default(),
            _ if entry[ATTRIBUTES_AT] & ATTRIBUTE_MASK == LONG_NAME => long.add(entry),
            b'.' => long = LongName::default(),
            _ => each(parse(entry, std::mem::take(&mut long))?)?,
        }
    }
    Ok(())
}

fn parse(entry: &[u8], long: LongName) -> Result<Entry, FsError> {
    let bytes = Bytes(entry);
    let attributes = entry[ATTRIBUTES_AT];
    let is_label = attributes & VOLUME_ID != 0;
    let short_name = if is_label { label(entry) } else { short_name(entry) };
    let is_directory = attributes & DIRECTORY != 0;
    let cluster = u32::from(bytes.le16(CLUSTER_HIGH_AT)?) << 16 | u32::from(bytes.le16(CLUSTER_LOW_AT)?);
    let size_bytes = if is_directory { 0 } else { bytes.le32(SIZE_AT)? };
    if is_directory && cluster == 0 && !is_label {
        return Err(FsError::Damaged("a directory has no clusters"));
    }
    Ok(Entry {
        name: long.finish(entry).unwrap_or_else(|| short_name.clone()),
        short_name,
        node: Node { first_cluster: cluster, size_bytes, is_directory },
        is_label,
    })
}

fn label(entry: &[u8]) -> String {
    entry[..11].iter().map(|&byte| character(byte)).collect::<String>().trim_end().to_owned()
}

/// A byte of a short name. What is not ASCII depends on a code page that nobody records.
fn character(byte: u8) -> char {
    if byte.is_ascii() { char::from(byte) } else { char::REPLACEMENT_CHARACTER }
}

fn short_name(entry: &[u8]) -> String {
    let text = |bytes: &[u8], small: bool| {
        let text: String = bytes.iter().map(|&byte| character(byte)).collect();
        let text = text.trim_end();
        if small { text.to_lowercase() } else { text.to_owned() }
    };
    let mut name = [0; 11];
    name.copy_from_slice(&entry[..11]);
    if name[0] == KANJI_E5 {
        name[0] = FREE;
    }
    let case = entry[CASE_AT];
    let base = text(&name[..8], case & SMALL_NAME != 0);
    let extension = text(&name[8..], case & SMALL_EXTENSION != 0);
    if extension.is_empty() { base } else { format!("{base}.{extension}") }
}

/// A long name that is being put together; its last part comes first.
#[derive(Default)]
struct LongName {
    parts: Vec<[u16; 13]>,
    /// How many parts are still to come.
    left: usize,
    checksum: u8,
}

impl LongName {
    fn add(&mut self, entry: &[u8]) {
        let order = usize::from(entry[0] & !LAST_PART);
        if entry[0] & LAST_PART != 0 && (1..=PART_LIMIT).contains(&order) {
            *self = LongName { parts: Vec::new(), left: order, checksum: entry[CHECKSUM_AT] };
        }
        if self.left == 0 || order != self.left || self.checksum != entry[CHECKSUM_AT] {
            *self = LongName::default();
            return;
        }
        self.left -= 1;
        let places = PART_CHARACTERS.iter().flat_map(|&(at, count)| (0..count).map(move |n| at + 2 * n));
        let mut part = [0; 13];
        for (unit, at) in part.iter_mut().zip(places) {
            *unit = u16::from_le_bytes([entry[at], entry[at + 1]]);
        }
        self.parts.push(part);
    }

    /// The name, if all of it was there and belongs to this short entry.
    fn finish(self, short: &[u8]) -> Option<String> {
        let sum = short[..11].iter().fold(0_u8, |sum, &byte| sum.rotate_right(1).wrapping_add(byte));
        if self.parts.is_empty() || self.left != 0 || sum != self.checksum {
            return None;
        }
        let units: Vec<u16> =
            self.parts.iter().rev().flatten().copied().take_while(|&unit| unit != 0).collect();
        String::from_utf16(&units).ok().filter(|name| !name.is_empty() && !name.contains('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(bytes: &[u8]) -> Vec<String> {
        let mut names = Vec::new();
        each(bytes, &mut |entry| {
            names.push(entry.name);
            Ok(())
        })
        .unwrap();
        names
    }

    fn short(name: &[u8; 11], case: u8) -> Vec<u8> {
        let mut entry = vec![0; 32];
        entry[..11].copy_from_slice(name);
        entry[CASE_AT] = case;
        entry
    }

    fn long(order: u8, text: &str, of: &[u8; 11]) -> Vec<u8> {
        let mut entry = vec![0xFF; 32];
        entry[0] = order;
        entry[ATTRIBUTES_AT] = LONG_NAME;
        entry[CHECKSUM_AT] = of.iter().fold(0_u8, |sum, &byte| sum.rotate_right(1).wrapping_add(byte));
        let mut units = text.encode_utf16().chain([0]);
        let places = PART_CHARACTERS.iter().flat_map(|&(at, count)| (0..count).map(move |n| at + 2 * n));
        for (at, unit) in places.zip(&mut units) {
            entry[at..at + 2].copy_from_slice(&unit.to_le_bytes());
        }
        entry
    }

    #[test]
    fn names_short_and_long() {
        let name = b"LONGNA~1CON";
        let bytes = [
            short(b"KERNEL  IMG", SMALL_NAME | SMALL_EXTENSION),
            short(b"BOOT       ", 0),
            long(LAST_PART | 2, "ame.conf", name),
            long(1, "long-long-n-n", name),
            short(name, 0),
            // A part that belongs to another entry, and one that is missing.
            long(LAST_PART | 1, "x", b"OTHER      "),
            short(b"A       B  ", 0),
            long(LAST_PART | 2, "x", b"C          "),
            short(b"C          ", 0),
            vec![0; 32],
            short(b"BEHIND     ", 0),
        ]
        .concat();
        assert_eq!(names(&bytes), ["kernel.img", "BOOT", "long-long-n-name.conf", "A.B", "C"]);
    }
}
