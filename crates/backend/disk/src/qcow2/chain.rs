//! Opening an image with all that is behind it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::header::{BackingName, FormatError, Header};
use super::image::Image;
use crate::host_file::{self, HostFile, Kind, OpenError};
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

/// Opens the image at `path`.
pub(crate) fn open_image(path: &Path, read_only: bool, policy: BackingPolicy) -> Result<Image, OpenError> {
    let mut seen = Vec::new();
    open_at(path, read_only, policy, &mut seen)
}

fn open_at(
    path: &Path,
    read_only: bool,
    policy: BackingPolicy,
    seen: &mut Vec<(u64, u64)>,
) -> Result<Image, OpenError> {
    let host = open_regular(path, read_only)?;
    remember(&host, path, seen)?;
    let file = Arc::new(host);
    let bad = |source| OpenError::Format { path: path.to_owned(), source };
    let header = Header::read(&*file).map_err(bad)?;
    let behind = match &header.backing {
        None => None,
        Some(_) if policy == BackingPolicy::Refuse => {
            return Err(bad(FormatError::BackingRefused));
        }
        Some(backing) => Some(open_behind(path, backing, seen)?),
    };
    Image::open(file, behind, read_only).map_err(bad)
}

/// Opens what is behind the image at `path`.
fn open_behind(
    path: &Path,
    backing: &BackingName,
    seen: &mut Vec<(u64, u64)>,
) -> Result<Arc<dyn Layer>, OpenError> {
    let at = backing_path(path, backing);
    let inside = |source| OpenError::Backing { path: path.to_owned(), source: Box::new(source) };
    match backing.format.as_deref() {
        Some("qcow2") => {
            let image = open_at(&at, true, BackingPolicy::Open, seen).map_err(inside)?;
            Ok(Arc::new(image))
        }
        Some("raw") => {
            let host = host_file::open(&at, true).map_err(inside)?;
            Ok(Arc::new(RawLayer::new(host)))
        }
        Some(other) => Err(inside(OpenError::Format {
            path: at,
            source: FormatError::Unsupported(format!("the backing format '{other}'")),
        })),
        None => Err(OpenError::BackingFormat { path: path.to_owned(), backing: backing.path.clone() }),
    }
}

/// Where the file behind the image at `path` is.
pub(crate) fn backing_path(path: &Path, backing: &BackingName) -> PathBuf {
    path.with_file_name(&backing.path)
}

/// Opens and locks a regular file.
pub(crate) fn open_regular(path: &Path, read_only: bool) -> Result<HostFile, OpenError> {
    let host = host_file::open(path, read_only)?;
    match host.kind {
        Kind::File => Ok(host),
        Kind::BlockDevice => Err(OpenError::FormatOnDevice(path.to_owned())),
    }
}

/// Refuses a file that is in the chain already, and chains without end.
fn remember(host: &HostFile, path: &Path, seen: &mut Vec<(u64, u64)>) -> Result<(), OpenError> {
    let metadata: fs::Metadata = host.file.metadata().map_err(|source| OpenError::Io {
        path: path.to_owned(),
        operation: "look at",
        source,
    })?;
    let file = (metadata.dev(), metadata.ino());
    if seen.contains(&file) || seen.len() > CHAIN_MAX {
        return Err(OpenError::ChainTooLong { path: path.to_owned(), limit: CHAIN_MAX });
    }
    seen.push(file);
    Ok(())
}
