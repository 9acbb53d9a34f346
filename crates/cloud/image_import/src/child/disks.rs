//! Jobs on disks.

use std::fs::File;
use std::path::Path;

use foreign_disks::{DiskReader, SourceFile, describe_source};

use messages::in_words;

use crate::inputs::{Converted, Described};
use crate::limits::{Limits, human};
use crate::position::length_bytes;
use crate::wire::{Answered, DiskPart};

/// What messages call the file that is written.
const TARGET: &str = "(the copy)";

pub(super) fn describe(part: &DiskPart, file: File, limits: &Limits) -> Answered<Described> {
    let info = describe_source(source(part, file)).map_err(|error| in_words(&error))?;
    check_size(&part.name, info.size_bytes, limits)?;
    let backing = info.backing.map(|backing| backing.path);
    Ok(Described { size_bytes: info.size_bytes, kind: info.kind, backing, extents: info.extents })
}

pub(super) fn convert(
    part: &DiskPart,
    file: File,
    extents: Vec<File>,
    target: File,
    limits: &Limits,
    progress: impl FnMut(u64, u64),
) -> Answered<Converted> {
    let lengths = extents.iter().map(length_bytes);
    let own = part.range.map_or_else(|| length_bytes(&file), |range| Ok(range.length_bytes));
    let source_bytes = lengths.chain([own]).sum::<Result<u64, _>>().map_err(|error| in_words(&error))?;
    let source = SourceFile { extents, ..source(part, file) };
    let reader = DiskReader::open(vec![source]).map_err(|error| in_words(&error))?;
    check_size(&part.name, reader.len_bytes(), limits)?;
    let data_bytes_max = limits.data_bytes_for(source_bytes);
    let data_bytes = reader
        .copy_to(target, Path::new(TARGET), data_bytes_max, progress)
        .map_err(|error| in_words(&error))?;
    let size_bytes = reader.len_bytes().next_multiple_of(disk::SECTOR_SIZE);
    Ok(Converted { size_bytes, data_bytes })
}

/// The disk in the first file, in front of the others.
pub(super) fn open_chain(parts: &[DiskPart], files: Vec<File>, limits: &Limits) -> Answered<DiskReader> {
    let chain = parts.iter().zip(files).map(|(part, file)| source(part, file)).collect();
    let reader = DiskReader::open(chain).map_err(|error| in_words(&error))?;
    let name = parts.first().map(|part| &*part.name).unwrap_or_default();
    check_size(name, reader.len_bytes(), limits)?;
    Ok(reader)
}

fn source(part: &DiskPart, file: File) -> SourceFile {
    let range = part.range.map(|range| (range.offset_bytes, range.length_bytes));
    SourceFile { range, ..SourceFile::new(file, part.format, &part.name) }
}

fn check_size(name: &str, size_bytes: u64, limits: &Limits) -> Answered<()> {
    if size_bytes > limits.disk_bytes {
        return Err(format!(
            "disk {name} claims to be {} long, and more than {} is not imported; \
             get the image again, or make its disk smaller where it comes from",
            human(size_bytes),
            human(limits.disk_bytes)
        ));
    }
    Ok(())
}
