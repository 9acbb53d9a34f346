//! What can go wrong with the store, in words for the person who asked.

use std::io;
use std::path::{Path, PathBuf};

use crate::names::{Digest, ImageReference, InstanceName};

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The host refused.
    #[error("cannot {operation} {}", path.display())]
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
    #[error("{}: {what}", path.display())]
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
    #[error("image {image} is damaged: its blob {blob} is missing; pull or import the image again")]
    MissingBlob {
        /// The image.
        image: Digest,
        /// What is missing.
        blob: Digest,
    },
    /// A blob that was to be put back is another one.
    #[error("{}: this is {found}, but {expected} is needed", path.display())]
    OtherBlob {
        /// What was offered.
        path: PathBuf,
        /// Its digest.
        found: Digest,
        /// The digest of what is damaged.
        expected: Digest,
    },
    /// The name is taken.
    #[error("there is an instance '{0}' already; remove it or take another name")]
    InstanceExists(InstanceName),
    /// No instance has this name.
    #[error("there is no instance '{name}' here{}", hint(suggestion.as_deref()))]
    NoSuchInstance {
        /// What was asked for.
        name: InstanceName,
        /// A name that may have been meant.
        suggestion: Option<String>,
    },
    /// A disk smaller than the image allows.
    #[error(
        "a disk of {asked_bytes} bytes is too small for image {image}: it needs {needed_bytes} bytes or more"
    )]
    DiskTooSmall {
        /// The image.
        image: Digest,
        /// What was asked for.
        asked_bytes: u64,
        /// What is needed.
        needed_bytes: u64,
    },
    /// The overlay could not be made.
    #[error(transparent)]
    Disk(#[from] disk::OfflineError),
}

impl StoreError {
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_owned();
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

    /// Whether the host's answer was that there is no room left.
    pub fn is_no_space(&self) -> bool {
        matches!(self, StoreError::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

fn hint(suggestion: Option<&str>) -> String {
    suggestion.map(|name| format!("; did you mean '{name}'?")).unwrap_or_default()
}
