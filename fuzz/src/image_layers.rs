//! Target `layers`: layers of an OCI image, written by a script or of any bytes, merged into one archive.
//!
//! Always: in the archive each name is relative, without `..`, and there once; it comes after its folder; hard links
//! lead to files before them; symbolic links do not climb above the root; there are no devices.

use std::collections::{HashMap, HashSet};
use std::io::Write;

use image_import::Limits;
use image_import::fuzzing::merge_in_memory;
use oci_image::LayerCompression;
use tar::{EntryType, Header};

use crate::{Notation, Script, Seed};

/// Most layers of an input.
const LAYERS_MAX: usize = 4;
/// Parts of names; what is behind them in an input is a name of its own.
const PARTS: [&str; 12] = ["a", "b", "c", "..", ".", "", ".wh.a", ".wh..wh..opq", "/", ".wh.", ".wh...", "d"];
const KINDS: [u8; 14] = *b"0512345670LKx\0";

/// A layer ends.
const NEXT_LAYER: u8 = 0;
/// An entry: kind, two names of parts, data.
const ENTRY: u8 = 1;
/// A block of any bytes, with a checksum that fits.
const BLOCK: u8 = 2;
/// Any bytes.
const BYTES: u8 = 3;
const OPERATIONS: u8 = 4;

fn limits() -> Limits {
    Limits { data_bytes: 4 << 20, entries: 2000, names_bytes: 1 << 20, ..Limits::default() }
}

/// Runs one input.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let flags = script.u8();
    let mut layers = vec![Vec::new()];
    if flags & 0x80 != 0 {
        layers = vec![script.remaining().to_vec()];
    }
    while let Some(operation) = script.operation(OPERATIONS) {
        if operation == NEXT_LAYER && layers.len() < LAYERS_MAX {
            layers.push(Vec::new());
        }
        let layer = layers.last_mut().expect("there is one");
        match operation {
            ENTRY => entry(&mut script, layer),
            BLOCK => {
                let mut block = script.bytes(512).to_vec();
                block.resize(512, 0);
                layer.extend(summed(&block).as_bytes());
            }
            BYTES => {
                let length = usize::from(script.u8()) * 4;
                layer.extend(script.bytes(length));
            }
            _ => {}
        }
    }
    let packed: Vec<(LayerCompression, Vec<u8>)> =
        layers.into_iter().enumerate().map(|(index, layer)| pack(flags, index, layer)).collect();
    let packed: Vec<(LayerCompression, &[u8])> =
        packed.iter().map(|(compression, bytes)| (*compression, &bytes[..])).collect();
    if let Ok((merged, archive)) = merge_in_memory(&packed, &limits()) {
        assert_eq!(merged.archive_bytes, archive.len() as u64);
        check(&archive);
        let (_, again) = merge_in_memory(&packed, &limits()).expect("as before");
        assert!(again == archive, "the same layers make another archive");
        let whole = [(LayerCompression::None, &archive[..])];
        let (_, again) = merge_in_memory(&whole, &limits()).expect("what we write we read");
        assert!(again == archive, "the archive as a layer makes another archive");
    }
}

fn pack(flags: u8, index: usize, mut layer: Vec<u8>) -> (LayerCompression, Vec<u8>) {
    if flags & 0x40 == 0 && flags & 0x80 == 0 {
        layer.resize(layer.len().next_multiple_of(512) + 1024, 0);
    }
    match flags >> (index * 2) & 3 {
        // Said to be packed.
        1 if flags & 0x80 != 0 => (LayerCompression::Gzip, layer),
        2 if flags & 0x80 != 0 => (LayerCompression::Zstd, layer),
        1 => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&layer).expect("memory");
            (LayerCompression::Gzip, encoder.finish().expect("memory"))
        }
        2 => (LayerCompression::Zstd, zstd::bulk::compress(&layer, 1).expect("memory")),
        _ => (LayerCompression::None, layer),
    }
}

fn entry(script: &mut Script<'_>, layer: &mut Vec<u8>) {
    let kind = script.u8();
    let (name, link) = (name(script), name(script));
    let length = usize::from(script.u8());
    let data = script.bytes(length);
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::new(KINDS[usize::from(kind) % KINDS.len()]));
    header.set_size(if kind & 0x80 == 0 { data.len() as u64 } else { u64::from(kind) });
    header.set_mode(u32::from(kind) * 97);
    header.set_uid(3);
    header.set_gid(4);
    header.set_mtime(5);
    let fields = header.as_old_mut();
    fields.name[..name.len()].copy_from_slice(&name);
    fields.linkname[..link.len()].copy_from_slice(&link);
    header.set_cksum();
    layer.extend(header.as_bytes());
    layer.extend(data);
    layer.resize(layer.len().next_multiple_of(512), 0);
}

/// A name of up to five parts, shorter than a header's field.
fn name(script: &mut Script<'_>) -> Vec<u8> {
    let mut name = Vec::new();
    for _ in 0..script.u8() % 6 {
        let part = usize::from(script.u8());
        match PARTS.get(part % 16) {
            Some(part) => name.extend(part.as_bytes()),
            None => name.extend(script.bytes(4)),
        }
        name.push(b'/');
    }
    if name.len() % 3 != 0 {
        name.pop();
    }
    name.truncate(100);
    name
}

fn summed(block: &[u8]) -> Header {
    let mut header = Header::new_old();
    header.as_mut_bytes().copy_from_slice(block);
    header.set_cksum();
    header
}

/// Asserts what is promised about an archive.
fn check(archive: &[u8]) {
    let mut kinds: HashMap<Vec<u8>, EntryType> = HashMap::new();
    let mut folders: HashSet<Vec<u8>> = HashSet::from([Vec::new()]);
    for entry in tar::Archive::new(archive).entries().expect("an archive") {
        let entry = entry.expect("an entry");
        let kind = entry.header().entry_type();
        let mut name = entry.path_bytes().into_owned();
        if name == b"./" {
            assert_eq!(kind, EntryType::Directory);
            continue;
        }
        if kind == EntryType::Directory {
            assert_eq!(name.pop(), Some(b'/'));
        }
        let parts: Vec<&[u8]> = name.split(|byte| *byte == b'/').collect();
        assert!(!parts.iter().any(|part| matches!(*part, b"" | b"." | b"..")), "{name:?}");
        let parent = parts[..parts.len() - 1].join(&b'/');
        assert!(folders.contains(&parent), "{name:?} comes before its folder");
        let link = entry.link_name_bytes().map(|link| link.into_owned()).unwrap_or_default();
        match kind {
            EntryType::Directory => assert!(folders.insert(name.clone())),
            EntryType::Regular => {}
            EntryType::Link => assert_eq!(kinds.get(&link), Some(&EntryType::Regular), "{name:?}"),
            EntryType::Symlink => {
                let climbs =
                    link.split(|byte| *byte == b'/').take_while(|part| matches!(*part, b".." | b"." | b""));
                let climbs = climbs.filter(|part| *part == b"..").count();
                assert!(link.starts_with(b"/") || climbs < parts.len(), "{name:?} leads to {link:?}");
            }
            other => panic!("an entry of kind {other:?}"),
        }
        // A hard link's name may be linked to again, but the first of the names is a file.
        assert!(kinds.insert(name.clone(), kind).is_none(), "{name:?} is twice there");
    }
}

/// Inputs to start from.
pub fn seeds() -> Vec<Seed> {
    let entry = |notation: Notation, kind: u8, name: &[u8], link: &[u8], data: &[u8]| {
        let notation = notation.u8(ENTRY).u8(kind).u8(name.len() as u8).bytes(name);
        notation.u8(link.len() as u8).bytes(link).u8(data.len() as u8).bytes(data)
    };
    let base = |flags: u8| {
        let notation = entry(Notation::new().u8(flags), 1, &[0], &[], b"");
        let notation = entry(notation, 0, &[0, 1], &[], b"data");
        let notation = entry(notation, 3, &[2], &[3, 3, 0], b"");
        entry(notation, 2, &[11], &[0, 1], b"")
    };
    let over = |notation: Notation| {
        let notation = entry(notation.u8(NEXT_LAYER), 0, &[0, 7], &[], b"");
        let notation = entry(notation, 0, &[6], &[], b"");
        let notation = entry(notation, 0, &[2, 1], &[], b"through a link");
        entry(notation, 4, &[8, 1], &[], b"")
    };
    let records = b"30 mtime=1350244992.023960108\n27 SCHILY.xattr.user.a=bcde\n";
    let extended = entry(entry(base(0), 12, &[0], &[], records), 0, &[1], &[], b"x");
    let long = entry(entry(base(0), 10, &[0], &[], b"a/long/name\0"), 0, &[1], &[], b"x");
    let empty = image_import::fuzzing::merge_in_memory(&[], &limits()).expect("nothing").1;
    vec![
        ("base", base(0).finish()),
        ("over", over(base(0)).finish()),
        ("gzip", over(base(0b0101)).finish()),
        ("zstd", over(base(0b1010)).finish()),
        ("extended", extended.finish()),
        ("long_name", long.finish()),
        ("whole", Notation::new().u8(0x80).bytes(&empty).finish()),
    ]
}
