//! VMDK images (VMware's "Virtual Disk Format 5.0") for reading: in one file, and descriptors with theirs.
//!
//! ```text
//! descriptor ─► files: raw ones, and those with grains
//! header (or the footer at the end) ─► grain directory ─► grain tables ─► grains, each perhaps deflated
//! ```
//!
//! A descriptor names files of this host, which who made it must not choose. It may name what lies in its own folder,
//! and whoever opens that keeps to it.

mod descriptor;
mod extents;
mod grain;
mod grains;
mod header;

use std::sync::Arc;

use disk::{FormatError, ImageFile, read_vec};

use self::descriptor::Descriptor;
use self::extents::Extents;
use self::grains::open_extent;
use crate::opened::Opened;

/// Opens the image in `file`, whose descriptor names `extents`, if it is one.
pub(crate) fn open(
    file: Arc<dyn ImageFile>,
    extents: Vec<Arc<dyn ImageFile>>,
) -> Result<Opened, FormatError> {
    if let Some(descriptor) = read_descriptor(&*file)? {
        let layer = Arc::new(Extents::open(&descriptor, extents)?);
        return Ok(Opened { layer, kind: descriptor.kind });
    }
    let layer = open_extent(file)?;
    let kind = layer.kind()?;
    Ok(Opened { layer: Arc::new(layer), kind })
}

/// What a descriptor says: kind, length, files. Nothing for a file that is none.
pub(crate) fn describe(file: &dyn ImageFile) -> Result<Option<(String, u64, Vec<String>)>, FormatError> {
    let found = read_descriptor(file)?;
    Ok(found.map(|found| {
        let names = found.names().map(str::to_owned).collect();
        (found.kind, found.size_bytes, names)
    }))
}

fn read_descriptor(file: &dyn ImageFile) -> Result<Option<Descriptor>, FormatError> {
    let length = file.len_bytes()?.min(descriptor::BYTES_MAX) as usize;
    if !read_vec(file, 0, descriptor::START.len().min(length))?.starts_with(descriptor::START) {
        return Ok(None);
    }
    let text = read_vec(file, 0, length)?;
    Descriptor::parse(&String::from_utf8_lossy(&text)).map(Some)
}
