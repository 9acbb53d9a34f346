//! Disks of other programs, which are read to be imported.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::{
    BackingName, FileRange, FormatError, HostFile, ImageFile, Layer, OpenError, RawLayer, SourceFormat,
    describe_image, open_image,
};

use crate::opened::Opened;
use crate::{vdi, vhd, vhdx, vmdk};

/// An open file with a disk in it.
#[derive(Debug)]
pub struct SourceFile {
    /// Open for reading.
    pub file: File,
    /// As it was stated.
    pub format: SourceFormat,
    /// What messages call it; it is not opened.
    pub name: PathBuf,
    /// The files that it names in [`SourceInfo::extents`], open for reading, in that order.
    pub extents: Vec<File>,
    /// Where in the file the disk lies, if that is not all of it: its first byte and its length.
    pub range: Option<(u64, u64)>,
}

impl SourceFile {
    /// A file with all of the disk in it.
    pub fn new(file: File, format: SourceFormat, name: impl Into<PathBuf>) -> SourceFile {
        SourceFile { file, format, name: name.into(), extents: Vec::new(), range: None }
    }

    /// The file and those that it names. Nothing is done that takes a name.
    pub(crate) fn host(self) -> Result<(HostFile, Vec<Arc<dyn ImageFile>>), OpenError> {
        let path = self.name;
        let host = |file: File| {
            HostFile::of_file(file, &path).map_err(|source| OpenError::Io {
                path: path.clone(),
                operation: "measure",
                source,
            })
        };
        let extents = self.extents.into_iter().map(|file| Ok(Arc::new(host(file)?) as Arc<dyn ImageFile>));
        Ok((host(self.file)?, extents.collect::<Result<_, _>>()?))
    }
}

/// The file as the code of a format sees it: all of it, or a range.
pub(crate) fn image_file(host: HostFile, range: Option<(u64, u64)>) -> Arc<dyn ImageFile> {
    match range {
        None => Arc::new(host),
        Some((start_bytes, length_bytes)) => {
            Arc::new(FileRange::new(Arc::new(host), start_bytes, length_bytes))
        }
    }
}

/// What a file says about the disk in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceInfo {
    /// As it was stated.
    pub format: SourceFormat,
    /// Length of the disk in bytes.
    pub size_bytes: u64,
    /// What kind of its format it is, in words.
    pub kind: String,
    /// The file behind it, which it names.
    pub backing: Option<BackingName>,
    /// The files beside it that hold its data, by their names in its folder. They may be anything: whoever opens
    /// them keeps to that folder.
    pub extents: Vec<String>,
}

/// Reads what a file says about the disk in it.
///
/// # Errors
/// It cannot be read, or is no such thing.
pub fn describe_source(source: SourceFile) -> Result<SourceInfo, OpenError> {
    let (format, range) = (source.format, source.range);
    let (host, _) = source.host()?;
    let bad = bad_source(host.path(), format);
    let whole_bytes = host.size_bytes();
    let file = image_file(host, range);
    let mut extents = Vec::new();
    let (size_bytes, kind, backing) = match format {
        SourceFormat::Raw => (range.map_or(whole_bytes, |(_, length)| length), "raw".to_owned(), None),
        SourceFormat::Qcow2 => {
            let (size_bytes, info) = describe_image(&*file).map_err(bad)?;
            let kind = format!("version {}, clusters of {} bytes", info.version, info.cluster_bytes);
            (size_bytes, kind, info.backing)
        }
        SourceFormat::Vhdx | SourceFormat::Vmdk | SourceFormat::Vhd | SourceFormat::Vdi => {
            let named =
                if format == SourceFormat::Vmdk { vmdk::describe(&*file).map_err(&bad)? } else { None };
            if let Some((kind, size_bytes, names)) = named {
                extents = names;
                (size_bytes, kind, None)
            } else {
                let opened = open_layer(file, format, None, Vec::new()).map_err(bad)?;
                (opened.layer.size_bytes(), opened.kind, None)
            }
        }
    };
    Ok(SourceInfo { format, size_bytes, kind, backing, extents })
}

pub(crate) fn bad_source(path: &Path, format: SourceFormat) -> impl Fn(FormatError) -> OpenError + use<> {
    let path = path.to_owned();
    move |source| OpenError::Source { path: path.clone(), format, source }
}

/// Opens any format but raw with `behind` as what is behind it, and `extents` as what it names beside it.
pub(crate) fn open_layer(
    file: Arc<dyn ImageFile>,
    format: SourceFormat,
    behind: Option<Arc<dyn Layer>>,
    extents: Vec<Arc<dyn ImageFile>>,
) -> Result<Opened, FormatError> {
    if behind.is_some() && format != SourceFormat::Qcow2 {
        return Err(FormatError::unsupported(format!("a file behind one that is {format}")));
    }
    match format {
        SourceFormat::Raw => Ok(Opened { layer: Arc::new(RawLayer::of_file(file)?), kind: "raw".to_owned() }),
        SourceFormat::Qcow2 => Ok(Opened { layer: open_image(file, behind)?, kind: "qcow2".to_owned() }),
        SourceFormat::Vhdx => vhdx::open(file),
        SourceFormat::Vmdk => vmdk::open(file, extents),
        SourceFormat::Vhd => vhd::open(file),
        SourceFormat::Vdi => vdi::open(file),
    }
}
