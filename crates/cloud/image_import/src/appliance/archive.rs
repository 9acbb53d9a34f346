//! The archive: tar, with the description first (DSP0243, "Distribution as a Single File").

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};

use oci_image::ByteRange;
use tar::{Archive, EntryType};

use super::manifest::{self, FileDigest};
use super::{Appliance, ApplianceError, damaged, envelope, unsupported};
use crate::text::printable;

/// More files than any appliance has.
const FILES_MAX: usize = 1000;
const DESCRIPTION: &str = ".ovf";
const MANIFEST: &str = ".mf";
const CERTIFICATE: &str = ".cert";

/// Whether a tar archive begins with the description of an appliance.
pub(crate) fn is_appliance(archive: impl Read + Seek) -> bool {
    let mut archive = Archive::new(archive);
    let Ok(mut entries) = archive.entries_with_seek() else { return false };
    let first = entries.next().and_then(Result::ok);
    first.is_some_and(|entry| entry.path_bytes().to_ascii_lowercase().ends_with(DESCRIPTION.as_bytes()))
}

/// Reads the appliance in `archive`, which is `archive_bytes` long. `progress` is told the bytes that were compared with
/// their digests, and the bytes in all.
///
/// # Errors
/// The archive makes no sense, or its files are not what the manifest says.
pub fn read_archive<A: Read + Seek>(
    mut archive: A,
    archive_bytes: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Appliance, ApplianceError> {
    let files = find_files(&mut archive, archive_bytes)?;
    let mut with = |ending: &str, bytes_max| {
        let name = files.keys().find(|name| name.to_ascii_lowercase().ends_with(ending));
        name.map(|name| read_file(&mut archive, name, files[name], bytes_max)).transpose()
    };
    let description = with(DESCRIPTION, envelope::BYTES_MAX)?;
    let description =
        description.ok_or_else(|| damaged("it has no description (a file that ends in .ovf)"))?;
    let digests = with(MANIFEST, manifest::BYTES_MAX)?.map(|text| manifest::parse(&text)).transpose()?;
    let mut appliance = envelope::read_envelope(&description)?;
    for disk in &mut appliance.disks {
        let Some(name) = &disk.file else { continue };
        let range = files.get(name).copied();
        disk.range = Some(range.ok_or_else(|| damaged(format!("it lacks its file {}", printable(name))))?);
    }
    match digests {
        Some(digests) => compare(&mut archive, &files, &digests, &mut appliance, progress)?,
        None => appliance.notes.push(manifest::missing()),
    }
    if files.keys().any(|name| name.to_ascii_lowercase().ends_with(CERTIFICATE)) {
        appliance.notes.push("its signature is not looked at".to_owned());
    }
    Ok(appliance)
}

/// Where the archive's files lie.
fn find_files<A: Read + Seek>(
    archive: &mut A,
    archive_bytes: u64,
) -> Result<BTreeMap<String, ByteRange>, ApplianceError> {
    archive.seek(SeekFrom::Start(0))?;
    let mut archive = Archive::new(archive);
    let mut files = BTreeMap::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry.map_err(|_| damaged("it is no tar archive, or was cut short"))?;
        if entry.header().entry_type() == EntryType::Directory {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = name.strip_prefix("./").unwrap_or(&name).to_owned();
        if !matches!(entry.header().entry_type(), EntryType::Regular | EntryType::Continuous) {
            return Err(unsupported(format!("'{}', which is no plain file", printable(&name))));
        }
        let range = ByteRange { offset_bytes: entry.raw_file_position(), length_bytes: entry.size() };
        if !range.lies_in(archive_bytes) {
            return Err(damaged(format!("its file {} was cut short", printable(&name))));
        }
        if files.len() == FILES_MAX {
            return Err(unsupported(format!("more than {FILES_MAX} files")));
        }
        if files.insert(name.clone(), range).is_some() {
            return Err(damaged(format!("it has two files {}", printable(&name))));
        }
    }
    Ok(files)
}

fn read_file<A: Read + Seek>(
    archive: &mut A,
    name: &str,
    range: ByteRange,
    bytes_max: u64,
) -> Result<Vec<u8>, ApplianceError> {
    if range.length_bytes > bytes_max {
        return Err(damaged(format!("its file {} is longer than any of its kind", printable(name))));
    }
    let mut bytes = Vec::new();
    at(archive, range)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn at<A: Read + Seek>(archive: &mut A, range: ByteRange) -> std::io::Result<impl Read> {
    archive.seek(SeekFrom::Start(range.offset_bytes))?;
    Ok(archive.take(range.length_bytes))
}

/// Compares the files with their digests, and notes disks that have none.
fn compare<A: Read + Seek>(
    archive: &mut A,
    files: &BTreeMap<String, ByteRange>,
    digests: &BTreeMap<String, FileDigest>,
    appliance: &mut Appliance,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), ApplianceError> {
    let all: u64 = digests.keys().filter_map(|name| files.get(name)).map(|range| range.length_bytes).sum();
    let mut done = 0;
    for (name, digest) in digests {
        let range = files.get(name);
        let range = range.ok_or_else(|| {
            damaged(format!("its manifest names the file {}, which it lacks", printable(name)))
        })?;
        let mut told = |bytes| {
            done += bytes;
            progress(done, all);
        };
        if !digest.is_of(at(archive, *range)?, &mut told)? {
            return Err(manifest::differs(name));
        }
    }
    let unnamed = appliance.disks.iter().filter_map(|disk| disk.file.as_ref());
    let unnamed = unnamed.filter(|name| !digests.contains_key(*name)).map(|name| printable(name));
    let notes: Vec<String> =
        unnamed.map(|name| format!("its manifest does not name {name}, which is taken as it is")).collect();
    appliance.notes.extend(notes);
    Ok(())
}
