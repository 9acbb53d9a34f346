//! Disks of other programs, which are read to be imported.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use guest_memory::IoBuffers;
use image_model::DiskFormat;
use rustix::fs::{SeekFrom, fstat, seek};

use crate::host_file::{HostFile, Kind, OpenError};
use crate::image_file::{ImageFile, fill_with_zeros};
use crate::layer::{Layer, RawLayer};
use crate::qcow2::{self, BackingName, FormatError, Image};
use crate::{vdi, vhd, vhdx, vmdk};

/// How a disk that is imported lies in its file. Machines run on [`DiskFormat`]s only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceFormat {
    /// Each byte where it is.
    Raw,
    /// QEMU's copy-on-write format.
    Qcow2,
    /// Hyper-V's format, fixed or dynamic.
    Vhdx,
    /// VMware's format: in one file, sparse or stream-optimized, or a descriptor with files beside it.
    Vmdk,
    /// Virtual PC's format, and Azure's: fixed or dynamic.
    Vhd,
    /// VirtualBox's format, fixed or dynamic.
    Vdi,
}

impl SourceFormat {
    /// All there are.
    pub const ALL: [SourceFormat; 6] = [
        SourceFormat::Raw,
        SourceFormat::Qcow2,
        SourceFormat::Vhdx,
        SourceFormat::Vmdk,
        SourceFormat::Vhd,
        SourceFormat::Vdi,
    ];

    /// As a person writes it.
    pub fn name(self) -> &'static str {
        match self {
            SourceFormat::Raw => "raw",
            SourceFormat::Qcow2 => "qcow2",
            SourceFormat::Vhdx => "vhdx",
            SourceFormat::Vmdk => "vmdk",
            SourceFormat::Vhd => "vhd",
            SourceFormat::Vdi => "vdi",
        }
    }

    /// The format as one that a machine can run on.
    pub fn for_machines(self) -> Option<DiskFormat> {
        match self {
            SourceFormat::Raw => Some(DiskFormat::Raw),
            SourceFormat::Qcow2 => Some(DiskFormat::Qcow2),
            SourceFormat::Vhdx | SourceFormat::Vmdk | SourceFormat::Vhd | SourceFormat::Vdi => None,
        }
    }
}

impl From<DiskFormat> for SourceFormat {
    fn from(format: DiskFormat) -> SourceFormat {
        match format {
            DiskFormat::Raw => SourceFormat::Raw,
            DiskFormat::Qcow2 => SourceFormat::Qcow2,
        }
    }
}

impl fmt::Display for SourceFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SourceFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<SourceFormat, String> {
        let found = SourceFormat::ALL.into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| {
            let names = SourceFormat::ALL.map(SourceFormat::name);
            let hint = messages::did_you_mean(text, names);
            format!("'{text}' is not a disk format that can be read (there are {}){hint}", names.join(", "))
        })
    }
}

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
            let size_bytes = measure(&file).map_err(|source| OpenError::Io {
                path: path.clone(),
                operation: "measure",
                source,
            })?;
            Ok(HostFile { file: Arc::new(file), kind: Kind::File, size_bytes, path: path.clone() })
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
            Arc::new(Window { file: Arc::new(host), start_bytes, length_bytes })
        }
    }
}

/// Length of a file or block device; the position in it, which others may share, is moved on devices only.
pub(crate) fn measure(file: &File) -> io::Result<u64> {
    match fstat(file)?.st_size {
        0 => Ok(seek(file, SeekFrom::End(0))?),
        length => Ok(length as u64),
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
    let bad = bad_source(&host.path, format);
    let whole_bytes = host.size_bytes;
    let file = image_file(host, range);
    let mut extents = Vec::new();
    let (size_bytes, kind, backing) = match format {
        SourceFormat::Raw => (range.map_or(whole_bytes, |(_, length)| length), "raw".to_owned(), None),
        SourceFormat::Qcow2 => {
            let (size_bytes, info) = qcow2::describe(&*file).map_err(bad)?;
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

/// A layer, and what kind of its format it is.
pub(crate) struct Opened {
    pub(crate) layer: Arc<dyn Layer>,
    pub(crate) kind: String,
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
        SourceFormat::Qcow2 => {
            let backed = behind.is_some();
            let image = Image::open(Arc::new(Uncut::new(file)?), behind, true)?;
            match (&image.header.backing, backed) {
                (Some(_), false) => Err(FormatError::BackingRefused),
                (None, true) => Err(FormatError::damaged("it names no file behind it, and one was given")),
                _ => Ok(Opened { layer: Arc::new(image), kind: "qcow2".to_owned() }),
            }
        }
        SourceFormat::Vhdx => vhdx::open(file),
        SourceFormat::Vmdk => vmdk::open(file, extents),
        SourceFormat::Vhd => vhd::open(file),
        SourceFormat::Vdi => vdi::open(file),
    }
}

/// What a source does that is asked to change.
macro_rules! only_read {
    () => {
        fn write(&self, _buffers: IoBuffers, _offset_bytes: u64) -> io::Result<()> {
            Err(io::ErrorKind::ReadOnlyFilesystem.into())
        }

        fn write_zeroes(&self, _offset_bytes: u64, _length_bytes: u64, _may_unmap: bool) -> io::Result<()> {
            Err(io::ErrorKind::ReadOnlyFilesystem.into())
        }

        fn set_len(&self, _length_bytes: u64) -> io::Result<()> {
            Err(io::ErrorKind::ReadOnlyFilesystem.into())
        }

        fn sync(&self) -> io::Result<()> {
            Ok(())
        }
    };
}

/// A range of a file.
struct Window {
    file: Arc<dyn ImageFile>,
    start_bytes: u64,
    length_bytes: u64,
}

impl ImageFile for Window {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.length_bytes)
    }

    fn read(&self, buffers: IoBuffers, offset_bytes: u64) -> io::Result<()> {
        let length = buffers.len_bytes();
        let there = self.length_bytes.saturating_sub(offset_bytes).min(length as u64) as usize;
        if there > 0 {
            self.file.read(buffers.slice(0, there), self.start_bytes.saturating_add(offset_bytes))?;
        }
        fill_with_zeros(&buffers.slice(there, length - there));
        Ok(())
    }

    only_read!();
}

/// An image's file as long as it is. Machines read zeros behind the end; what is imported has no such places, or
/// it was cut short.
struct Uncut {
    file: Arc<dyn ImageFile>,
    /// Where the last cluster ends, which a writer may have left incomplete.
    end_bytes: u64,
}

impl Uncut {
    fn new(file: Arc<dyn ImageFile>) -> Result<Uncut, FormatError> {
        let cluster_bytes = qcow2::Header::read(&*file)?.geometry.cluster_bytes();
        let file_bytes = file.len_bytes()?;
        let end_bytes = file_bytes.checked_next_multiple_of(cluster_bytes);
        Ok(Uncut { file, end_bytes: end_bytes.unwrap_or(file_bytes) })
    }
}

impl ImageFile for Uncut {
    fn len_bytes(&self) -> io::Result<u64> {
        self.file.len_bytes()
    }

    fn read(&self, buffers: IoBuffers, offset_bytes: u64) -> io::Result<()> {
        let end_bytes = offset_bytes.checked_add(buffers.len_bytes() as u64);
        if end_bytes.is_none_or(|end_bytes| end_bytes > self.end_bytes) {
            return Err(
                FormatError::damaged("it leads behind the end of the file, which was cut short").into()
            );
        }
        self.file.read(buffers, offset_bytes)
    }

    only_read!();
}
