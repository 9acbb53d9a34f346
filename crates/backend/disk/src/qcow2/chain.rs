//! An image with all that is behind it: found first, file by file, and then put together from the back.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image_model::DiskFormat;

use super::header::Header;
use super::image::Image;
use crate::error::{FormatError, OpenError};
use crate::format::BackingName;
use crate::host_file::{self, HostFile, Kind, OpenFile};
use crate::layer::{Layer, RawLayer};

/// Most files behind an image.
const CHAIN_MAX: usize = 32;

/// What is done about a backing file that an image names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackingPolicy {
    /// It is opened, read-only, if the image says in which format.
    Open,
    /// It is an error: the image comes from somebody who must not name files of this host.
    Refuse,
}

/// A file of a chain.
struct Link {
    host: HostFile,
    format: DiskFormat,
}

/// Opens and locks the image at `path`, and what is behind it.
pub(crate) fn open_image(path: &Path, read_only: bool, policy: BackingPolicy) -> Result<Image, OpenError> {
    put_together(&follow(path, read_only, policy, &mut host_file::open)?, read_only)
}

/// Opens the image at `path` and what is behind it, without a lock: the files, the image's first. What they say is
/// checked and forgotten.
pub(crate) fn prepare(
    path: &Path,
    read_only: bool,
    policy: BackingPolicy,
) -> Result<Vec<OpenFile>, OpenError> {
    let mut files = Vec::new();
    let mut open = |path: &Path, read_only| {
        let file = OpenFile::open(path, read_only)?;
        let host = file.look();
        files.push(file);
        host
    };
    follow(path, read_only, policy, &mut open)?;
    Ok(files)
}

/// Locks the image and what is behind it, of which `files` are open, and reads it all anew. What an image names now and
/// did not then is opened, and belongs to `files` from now on.
pub(crate) fn activate(
    files: &mut Vec<OpenFile>,
    path: &Path,
    read_only: bool,
    policy: BackingPolicy,
) -> Result<Image, OpenError> {
    let mut lock = |path: &Path, read_only| {
        // An image that names itself was opened twice, and meets its own lock.
        let is_it = |file: &&OpenFile| file.path() == path && file.is_read_only() == read_only;
        if let Some(file) = files.iter().find(is_it) {
            return file.lock();
        }
        let file = OpenFile::open(path, read_only)?;
        let host = file.lock();
        files.push(file);
        host
    };
    put_together(&follow(path, read_only, policy, &mut lock)?, read_only)
}

/// Finds the files of a chain, the image's first; `open` opens each, read-only if that is said.
fn follow(
    path: &Path,
    read_only: bool,
    policy: BackingPolicy,
    open: &mut dyn FnMut(&Path, bool) -> Result<HostFile, OpenError>,
) -> Result<Vec<Link>, OpenError> {
    let mut links = Vec::new();
    let mut seen = Vec::new();
    let mut next = Some((path.to_owned(), DiskFormat::Qcow2));
    while let Some((at, format)) = next.take() {
        let read_only = read_only || !links.is_empty();
        let inside = |source| behind(&links, source);
        let host = open(&at, read_only).map_err(inside)?;
        let mut named = None;
        if format == DiskFormat::Qcow2 {
            check_image_file(&host, &mut seen).map_err(inside)?;
            let bad = |source| OpenError::Format { path: at.clone(), source };
            named = Header::read(&host).map_err(bad).map_err(inside)?.backing;
            if named.is_some() && policy == BackingPolicy::Refuse {
                return Err(inside(bad(FormatError::BackingRefused)));
            }
        }
        links.push(Link { host, format });
        next = named.map(|backing| place_of(&links, &at, &backing)).transpose()?;
    }
    Ok(links)
}

/// Where the file is that the last of `links`, the image at `path`, names, and what it is.
fn place_of(links: &[Link], path: &Path, backing: &BackingName) -> Result<(PathBuf, DiskFormat), OpenError> {
    let at = backing_path(path, backing);
    match backing.format.as_deref() {
        Some("qcow2") => Ok((at, DiskFormat::Qcow2)),
        Some("raw") => Ok((at, DiskFormat::Raw)),
        Some(other) => {
            let source = FormatError::Unsupported(format!("the backing format '{other}'"));
            Err(behind(links, OpenError::Format { path: at, source }))
        }
        None => {
            let named = OpenError::BackingFormat { path: path.to_owned(), backing: backing.path.clone() };
            Err(behind(&links[..links.len() - 1], named))
        }
    }
}

/// What is wrong with a file that is behind all of `links`.
fn behind(links: &[Link], error: OpenError) -> OpenError {
    links.iter().rev().fold(error, |source, link| OpenError::Backing {
        path: link.host.path.clone(),
        source: Box::new(source),
    })
}

/// Opens the images of a chain, the last first. Only the first of them may be written.
fn put_together(links: &[Link], read_only: bool) -> Result<Image, OpenError> {
    let mut layer: Option<Arc<dyn Layer>> = None;
    for index in (1..links.len()).rev() {
        let Link { host, format } = &links[index];
        layer = Some(match format {
            DiskFormat::Raw => Arc::new(RawLayer::new(host.clone())),
            DiskFormat::Qcow2 => {
                Arc::new(open_link(host, layer, true).map_err(|error| behind(&links[..index], error))?)
            }
        });
    }
    open_link(&links[0].host, layer, read_only)
}

fn open_link(host: &HostFile, behind: Option<Arc<dyn Layer>>, read_only: bool) -> Result<Image, OpenError> {
    let bad = |source| OpenError::Format { path: host.path.clone(), source };
    Image::open(Arc::new(host.clone()), behind, read_only).map_err(bad)
}

/// Where the file behind the image at `path` is.
pub(crate) fn backing_path(path: &Path, backing: &BackingName) -> PathBuf {
    path.with_file_name(&backing.path)
}

/// Opens and locks a regular file.
pub(crate) fn open_regular(path: &Path, read_only: bool) -> Result<HostFile, OpenError> {
    regular(host_file::open(path, read_only)?)
}

fn regular(host: HostFile) -> Result<HostFile, OpenError> {
    match host.kind {
        Kind::File => Ok(host),
        Kind::BlockDevice => Err(OpenError::FormatOnDevice(host.path)),
    }
}

/// Refuses what holds no image, a file that is in the chain already, and chains without end.
fn check_image_file(host: &HostFile, seen: &mut Vec<(u64, u64)>) -> Result<(), OpenError> {
    let HostFile { file, path, .. } = regular(host.clone())?;
    let failed = |source| OpenError::Io { path: path.clone(), operation: "look at", source };
    let metadata = file.metadata().map_err(failed)?;
    let file = (metadata.dev(), metadata.ino());
    if seen.contains(&file) || seen.len() > CHAIN_MAX {
        return Err(OpenError::ChainTooLong { path: path.clone(), limit: CHAIN_MAX });
    }
    seen.push(file);
    Ok(())
}
