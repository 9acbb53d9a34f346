//! What files are by their contents, and how disks are laid out.

use std::fs::File;

use disk::{SignatureKind, SourceFormat, recognize as signature_of};
use foreign_disks::{DiskReader, SourceFile};
use guest_files::{Content, TableKind, identify, read_partitions};
use messages::in_words;
use oci_image::ByteRange;

use super::boot::Disk;
use crate::appliance::is_appliance;
use crate::inputs::{Layout, Recognized};
use crate::position::PositionReader;
use crate::wire::Answered;
use image_model::Compression;

/// See [`Importer::recognize`](crate::Importer::recognize).
pub(super) fn recognize(name: &str, file: File, range: ByteRange) -> Answered<Recognized> {
    let bad = |error: &dyn std::error::Error| format!("{name}: {}", in_words(error));
    let signature = signature_of(&file, range.offset_bytes, range.length_bytes);
    let Some(signature) = signature.map_err(|error| bad(&error))? else {
        return recognize_raw(name, file, range);
    };
    let foreign = || Recognized::Foreign(signature.name.to_owned());
    Ok(match signature.kind {
        SignatureKind::Disk(format) => Recognized::Disk(format),
        SignatureKind::Compressed(ending) => {
            Compression::of_ending(ending).map_or_else(foreign, Recognized::Compressed)
        }
        SignatureKind::Zip => Recognized::Compressed(Compression::Zip),
        SignatureKind::Tar if is_appliance(PositionReader::new(&file, range, |_| ())) => {
            Recognized::Appliance
        }
        SignatureKind::Tar => Recognized::OciArchive,
        SignatureKind::ForeignDisk | SignatureKind::ForeignCompression | SignatureKind::ForeignArchive => {
            foreign()
        }
    })
}

/// A raw disk has no signature: it is one if a partition table or a file system is on it.
fn recognize_raw(name: &str, file: File, range: ByteRange) -> Answered<Recognized> {
    let range = Some((range.offset_bytes, range.length_bytes));
    let source = SourceFile { range, ..SourceFile::new(file, SourceFormat::Raw, name) };
    let disk = Disk(DiskReader::open(vec![source]).map_err(|error| in_words(&error))?);
    let bad = |error: std::io::Error| format!("{name}: {}", in_words(&error));
    let is_disk = read_partitions(&disk).map_err(bad)?.kind != TableKind::None
        || identify(&disk).map_err(bad)? != Content::Unknown;
    Ok(if is_disk { Recognized::Disk(SourceFormat::Raw) } else { Recognized::Unknown })
}

/// See [`Importer::read_layout`](crate::Importer::read_layout).
pub(super) fn read_layout(disk: DiskReader) -> Answered<Layout> {
    let name = disk.name().display().to_string();
    let table = read_partitions(&Disk(disk)).map_err(|error| format!("disk {name}: {}", in_words(&error)))?;
    Ok(Layout { sector_bytes: table.sector_bytes })
}
