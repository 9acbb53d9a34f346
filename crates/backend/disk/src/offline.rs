//! What is done to images while no machine uses them: make, enlarge, check, repair, describe, map, convert.

mod convert;
mod map;

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use host_sys::new_file::{NewFile, PRIVATE};
use image_model::DiskFormat;
use messages::Bytes;

use crate::error::{FormatError, OpenError};
use crate::format::Qcow2Info;
use crate::host_file::{self, HostFile, Kind};
use crate::image_file::ImageFile;
use crate::qcow2::{self, BackingPolicy, CheckReport, CreateOptions, Repair};
use crate::raw_contents::RawContents;

pub use convert::{ConvertOptions, convert, copy_layer, flatten};
pub use map::map;

impl OfflineError {
    /// Whether something uses the disk now.
    pub fn is_in_use(&self) -> bool {
        matches!(self, OfflineError::Open(OpenError::InUse { .. }))
    }
}

/// Why something could not be done to an image.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What is to be made is there.
    #[error("{0} exists already; remove it or give another name")]
    Exists(PathBuf),
    /// What has the name cannot hold a disk.
    #[error("{0} is neither a file nor a block device: a disk cannot be written there")]
    NotAFile(PathBuf),
    /// Raw files are not checked.
    #[error("disk {0} is raw: there is nothing in it to {1}")]
    Raw(PathBuf, &'static str),
    /// It would cut off data.
    #[error("disk {path} has {}; making it smaller would cut off what is at its end", Bytes(*old_bytes))]
    Shrink {
        /// The file.
        path: PathBuf,
        /// Its length as a disk.
        old_bytes: u64,
    },
    /// Much data out of a small file: more than anybody's disk holds.
    #[error(
        "disk {path} unpacks to more than {} of data; if that is meant, convert it where it comes from",
        Bytes(*limit_bytes)
    )]
    Expands {
        /// The file.
        path: PathBuf,
        /// What is let through, in bytes.
        limit_bytes: u64,
    },
    /// A device has too little room.
    #[error("block device {path} has {has_bytes} bytes, and the disk {needs_bytes}")]
    DeviceTooSmall {
        /// The device.
        path: PathBuf,
        /// Its size.
        has_bytes: u64,
        /// What it has to take.
        needs_bytes: u64,
    },
    /// Nobody wants it any more.
    #[error("it was cancelled")]
    Cancelled,
    /// The host refused.
    #[error("cannot {operation} {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// A disk that nobody else can open meanwhile.
pub struct Claim(#[expect(dead_code, reason = "held for its lock")] HostFile);

/// Takes a disk's file for oneself: nothing uses it now, and nothing can until the claim goes.
///
/// # Errors
/// Something uses it, or it cannot be opened.
pub fn claim(path: &Path) -> Result<Claim, OfflineError> {
    Ok(Claim(host_file::open(path, false)?))
}

/// Makes a raw disk of `size_bytes` zeros.
///
/// # Errors
/// The file is there, or the host refuses.
pub fn create_raw<'a>(output: impl Into<Output<'a>>, size_bytes: u64) -> Result<(), OfflineError> {
    let output = output.into();
    new_file(output, |file| file.set_len(size_bytes).map_err(io_error(output.path, "enlarge")))
}

/// Makes a qcow2 image. A backing file that it names is not looked at.
///
/// # Errors
/// The file is there, the options do not go together, or the host refuses.
pub fn create_qcow2<'a>(output: impl Into<Output<'a>>, options: &CreateOptions) -> Result<(), OfflineError> {
    let output = output.into();
    let path = output.path;
    new_file(output, |file| {
        let file: Arc<dyn ImageFile> = Arc::new(file.clone());
        qcow2::create(&file, options).map_err(creation_error(path))?;
        file.sync().map_err(io_error(path, "write"))
    })
}

/// Makes a disk larger.
///
/// # Errors
/// It cannot be opened, would become smaller, or the host refuses.
pub fn resize(
    path: &Path,
    format: DiskFormat,
    contents: RawContents,
    size_bytes: u64,
) -> Result<(), OfflineError> {
    match format {
        DiskFormat::Raw => {
            let host = host_file::open(path, false)?;
            contents.check(&host)?;
            if host.kind == Kind::BlockDevice {
                return Err(OpenError::FixedLength(path.to_owned()).into());
            }
            check_growth(path, host.size_bytes, size_bytes)?;
            host.set_len(size_bytes).map_err(io_error(path, "enlarge"))
        }
        DiskFormat::Qcow2 => {
            let image = qcow2::open_image(path, false, BackingPolicy::Open)?;
            check_growth(path, image.size_bytes(), size_bytes)?;
            let grown = qcow2::grow(&image, size_bytes).and_then(|()| image.close());
            grown.map_err(|error| format_error(path)(error.into()))
        }
    }
}

/// Gives the file behind a qcow2 image another name in its header: the same file, or one of the same contents. Nobody uses
/// the image meanwhile.
///
/// # Errors
/// It cannot be opened, has nothing behind it, or has no room for the name.
pub fn rename_backing(path: &Path, name: &str) -> Result<(), OfflineError> {
    let host = qcow2::open_regular(path, false)?;
    qcow2::rename_backing(&host, name).map_err(format_error(path))?;
    ImageFile::sync(&host).map_err(io_error(path, "write"))
}

fn check_growth(path: &Path, old_bytes: u64, new_bytes: u64) -> Result<(), OfflineError> {
    if new_bytes < old_bytes {
        return Err(OfflineError::Shrink { path: path.to_owned(), old_bytes });
    }
    Ok(())
}

/// Looks for damage in a qcow2 image, and puts some of it right. The report is about the image as it is left.
///
/// # Errors
/// It cannot be opened or read, or has damage that cannot be repaired.
pub fn check(path: &Path, format: DiskFormat, repair: Option<Repair>) -> Result<CheckReport, OfflineError> {
    if format == DiskFormat::Raw {
        return Err(OfflineError::Raw(path.to_owned(), "check"));
    }
    let host = Arc::new(qcow2::open_regular(path, repair.is_none())?);
    if let Some(repair) = repair {
        qcow2::repair_file(&(Arc::clone(&host) as Arc<_>), repair).map_err(format_error(path))?;
    }
    qcow2::check(&*host).map_err(format_error(path))
}

/// What an image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskInfo {
    /// As it was stated.
    pub format: DiskFormat,
    /// Length of the disk.
    pub size_bytes: u64,
    /// Room that the file takes on the host.
    pub room_bytes: u64,
    /// What only a qcow2 image has.
    pub qcow2: Option<Qcow2Info>,
}

/// Describes the disk at `path`.
///
/// # Errors
/// It cannot be opened, or is no such thing.
pub fn info(path: &Path, format: DiskFormat, contents: RawContents) -> Result<DiskInfo, OfflineError> {
    let host = match format {
        DiskFormat::Raw => open_raw(path, contents)?,
        DiskFormat::Qcow2 => qcow2::open_regular(path, true)?,
    };
    let metadata = host.file.metadata().map_err(io_error(path, "look at"))?;
    let room_bytes = if host.kind == Kind::File { metadata.blocks() * 512 } else { host.size_bytes };
    let (size_bytes, qcow2) = match format {
        DiskFormat::Raw => (host.size_bytes, None),
        DiskFormat::Qcow2 => {
            let (size_bytes, info) = qcow2::describe(&host).map_err(format_error(path))?;
            (size_bytes, Some(info))
        }
    };
    Ok(DiskInfo { format, size_bytes, room_bytes, qcow2 })
}

/// Opens a raw disk for reading.
fn open_raw(path: &Path, contents: RawContents) -> Result<HostFile, OpenError> {
    let host = host_file::open(path, true)?;
    contents.check(&host)?;
    Ok(host)
}

/// A file to be made.
#[derive(Clone, Copy, Debug)]
pub struct Output<'a> {
    /// Its name. Nothing has it yet.
    pub path: &'a Path,
    /// Its permissions (chmod(2)), whatever the umask says.
    pub mode: u32,
}

/// Readable for its owner alone: what a guest keeps is nobody else's.
impl<'a, P: AsRef<Path> + ?Sized> From<&'a P> for Output<'a> {
    fn from(path: &'a P) -> Output<'a> {
        Output { path: path.as_ref(), mode: PRIVATE }
    }
}

/// Makes a file that `fill` fills; if that fails, or the process ends before, there is no file.
fn new_file(
    output: Output<'_>,
    fill: impl FnOnce(&HostFile) -> Result<(), OfflineError>,
) -> Result<(), OfflineError> {
    let Output { path, mode } = output;
    check_absent(path)?;
    let new = NewFile::create(path, mode).map_err(make_error(path, "make"))?;
    let file = new.file().try_clone().map_err(io_error(path, "make"))?;
    fill(&HostFile::regular(Arc::new(file), 0, path))?;
    new.keep().map_err(make_error(path, "write"))
}

/// Says what there is in the place of a file to be made.
fn check_absent(path: &Path) -> Result<(), OfflineError> {
    match fs::metadata(path) {
        Err(_) => Ok(()),
        Ok(found) if found.is_file() => Err(OfflineError::Exists(path.to_owned())),
        Ok(found) if found.is_dir() => Err(OpenError::Directory(path.to_owned()).into()),
        Ok(found) if found.file_type().is_block_device() => {
            Err(OpenError::FormatOnDevice(path.to_owned()).into())
        }
        Ok(_) => Err(OfflineError::NotAFile(path.to_owned())),
    }
}

/// Whether `path` leads to a block device.
pub fn is_block_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.file_type().is_block_device())
}

/// The error of making a file, which something else may have become meanwhile.
fn make_error(path: &Path, operation: &'static str) -> impl Fn(io::Error) -> OfflineError {
    move |source| match source.kind() {
        io::ErrorKind::AlreadyExists => OfflineError::Exists(path.to_owned()),
        _ => io_error(path, operation)(source),
    }
}

fn io_error(path: &Path, operation: &'static str) -> impl Fn(io::Error) -> OfflineError {
    move |source| OfflineError::Io { path: path.to_owned(), operation, source }
}

/// What is wrong with an image that is being made; what the host refuses is no fault of the image.
fn creation_error(path: &Path) -> impl Fn(FormatError) -> OfflineError {
    move |source| match source {
        FormatError::Io(answer) => io_error(path, "write")(io::Error::other(answer)),
        source => OpenError::Format { path: path.to_owned(), source }.into(),
    }
}

fn format_error(path: &Path) -> impl Fn(FormatError) -> OfflineError {
    move |source| OpenError::Format { path: path.to_owned(), source }.into()
}
