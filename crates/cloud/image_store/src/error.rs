//! What can go wrong with the store, in words for the person who asked.

use std::io;
use std::path::{Path, PathBuf};

use messages::Bytes;
use vm_control::FailureClass;
use vm_spec::VmName;

use crate::layout::place_in_words;
use image_model::{Digest, ImageReference};

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The host refused.
    #[error("cannot {operation} {}{}", place_in_words(path), room_hint(source))]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The folder was written by a newer Yagura, or is something else.
    #[error("{} is not a store that this version of Yagura can use (its version is '{found}'; this one \
        knows '{known}')", path.display())]
    Version {
        /// The store's folder.
        path: PathBuf,
        /// What its version file says.
        found: String,
        /// What it should say.
        known: &'static str,
    },
    /// No image has this name.
    #[error("there is no image '{reference}' here{}", hint(suggestion.as_deref()))]
    NoSuchImage {
        /// What was asked for.
        reference: ImageReference,
        /// A name that may have been meant.
        suggestion: Option<String>,
    },
    /// Several images' ids begin like this.
    #[error("'{prefix}' is the start of {count} images' digests; give more digits")]
    Ambiguous {
        /// What was typed.
        prefix: String,
        /// How many images it fits.
        count: usize,
    },
    /// Metadata in the store or for it that makes no sense.
    #[error("{} is damaged ({what}); 'yagura image verify' tells what else is", place_in_words(path))]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A description that an image cannot have.
    #[error("an image's {field} cannot be '{value}': {why}")]
    BadDescription {
        /// Which part of it.
        field: &'static str,
        /// What it was to be.
        value: String,
        /// What would be right.
        why: &'static str,
    },
    /// A blob that an image needs is gone or was moved aside.
    #[error("a file of image {image} is missing from the store of images; pull or import the image again")]
    MissingBlob {
        /// The image, as messages call it.
        image: String,
    },
    /// A blob that was to be put back is another one.
    #[error("{}: its digest is {found}, and {expected} is needed; it is another file", path.display())]
    OtherBlob {
        /// What was offered.
        path: PathBuf,
        /// Its digest.
        found: Digest,
        /// The digest of what is damaged.
        expected: Digest,
    },
    /// The name is taken.
    #[error("there is a VM '{0}' already; take another name, or 'yagura delete {0}'")]
    InstanceExists(VmName),
    /// No instance has this name.
    #[error("there is no VM '{name}' here{}", hint(suggestion.as_deref()))]
    NoSuchInstance {
        /// What was asked for.
        name: VmName,
        /// A name that may have been meant.
        suggestion: Option<String>,
    },
    /// A disk smaller than the image allows.
    #[error("a disk of {} is too small: image {image} needs {} or more", Bytes(*asked_bytes), Bytes(*needed_bytes))]
    DiskTooSmall {
        /// The image, as messages call it.
        image: String,
        /// What was asked for.
        asked_bytes: u64,
        /// What is needed.
        needed_bytes: u64,
    },
    /// Nobody wants it any more.
    #[error(transparent)]
    Cancelled(#[from] messages::Cancelled),
    /// The overlay could not be made.
    #[error(transparent)]
    Disk(#[from] disk::OfflineError),
}

impl StoreError {
    /// That the host refused `operation` with the file at `path`.
    pub fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.into();
        move |source| StoreError::Io { operation, path, source }
    }

    pub(crate) fn errno(
        operation: &'static str,
        path: &Path,
    ) -> impl FnOnce(rustix::io::Errno) -> StoreError {
        let to_error = StoreError::io(operation, path);
        move |errno| to_error(errno.into())
    }

    pub(crate) fn metadata(path: &Path, what: impl Into<String>) -> StoreError {
        StoreError::Metadata { path: path.to_owned(), what: what.into() }
    }

    /// What kind of failure it is.
    pub fn class(&self) -> FailureClass {
        match self {
            StoreError::NoSuchImage { .. } | StoreError::NoSuchInstance { .. } => FailureClass::NotFound,
            StoreError::InstanceExists(_) => FailureClass::Exists,
            StoreError::Ambiguous { .. }
            | StoreError::BadDescription { .. }
            | StoreError::OtherBlob { .. }
            | StoreError::DiskTooSmall { .. } => FailureClass::Invalid,
            StoreError::Disk(error) => class_of_disk(error),
            StoreError::Io { .. }
            | StoreError::Version { .. }
            | StoreError::Metadata { .. }
            | StoreError::Cancelled(_)
            | StoreError::MissingBlob { .. } => FailureClass::Host,
        }
    }

    /// Whether the host's answer was that there is no room left.
    pub fn is_no_space(&self) -> bool {
        matches!(self, StoreError::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

/// What kind of failure it is that something could not be done to a disk.
pub fn class_of_disk(error: &disk::OfflineError) -> FailureClass {
    match error {
        _ if error.is_in_use() => FailureClass::Busy,
        disk::OfflineError::Exists(_) => FailureClass::Exists,
        _ => FailureClass::Host,
    }
}

/// What to do where there is no room.
fn room_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room there, perhaps with 'yagura image gc', or give another folder by YAGURA_DIR"
        }
        _ => "",
    }
}

fn hint(suggestion: Option<&str>) -> String {
    suggestion.map(|name| format!("; did you mean '{name}'?")).unwrap_or_default()
}
