//! A description with its files beside it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use oci_image::ByteRange;

use super::{Appliance, ApplianceError, damaged, envelope, manifest};
use crate::position::{PositionReader, length_bytes};
use crate::text::printable;

/// Reads the description, the first of `files`, and compares those with the digests in the manifest. `progress` is told
/// the bytes that were compared, and the bytes in all.
pub(crate) fn read_beside(
    files: &[(String, File)],
    manifest: Option<&File>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Appliance, ApplianceError> {
    let (_, description) = files.first().ok_or_else(|| damaged("it has no description"))?;
    let mut appliance = envelope::read_envelope(&whole(description, envelope::BYTES_MAX)?)?;
    let Some(manifest) = manifest else {
        appliance.notes.push(manifest::missing());
        return Ok(appliance);
    };
    let digests = manifest::parse(&whole(manifest, manifest::BYTES_MAX)?)?;
    let files: BTreeMap<&str, &File> = files.iter().map(|(name, file)| (&**name, file)).collect();
    let lengths = files.values().map(|file| length_bytes(file)).collect::<Result<Vec<u64>, _>>()?;
    let (all, mut done) = (lengths.iter().sum(), 0);
    for (name, file) in &files {
        let Some(digest) = digests.get(*name) else {
            appliance.notes.push(format!("its manifest does not name {}", printable(name)));
            continue;
        };
        let mut told = |bytes| {
            done += bytes;
            progress(done, all);
        };
        if !digest.is_of(reader(file)?, &mut told)? {
            return Err(manifest::differs(name));
        }
    }
    Ok(appliance)
}

fn reader(file: &File) -> std::io::Result<impl Read> {
    Ok(PositionReader::new(file, ByteRange::whole(length_bytes(file)?), |_| ()))
}

fn whole(file: &File, bytes_max: u64) -> Result<Vec<u8>, ApplianceError> {
    let mut bytes = Vec::new();
    reader(file)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(damaged("its description or manifest is longer than any"));
    }
    Ok(bytes)
}
