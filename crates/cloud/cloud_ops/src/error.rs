//! Why an action did not come to its end.

use std::io;
use std::path::PathBuf;

/// Why an action did not come to its end. What it had begun is undone.
#[derive(Debug, thiserror::Error)]
pub enum OpError {
    /// The store.
    #[error(transparent)]
    Store(#[from] image_store::StoreError),
    /// A name that nothing can have.
    #[error(transparent)]
    Name(#[from] image_store::NameError),
    /// The catalogue.
    #[error(transparent)]
    Catalogue(#[from] image_sources::CatalogueError),
    /// A download.
    #[error(transparent)]
    Fetch(#[from] image_sources::FetchError),
    /// An OCI image.
    #[error(transparent)]
    Oci(#[from] image_sources::OciError),
    /// A foreign image.
    #[error(transparent)]
    Import(#[from] image_import::ImportError),
    /// Building from packages.
    #[error(transparent)]
    Build(#[from] image_build::BuildError),
    /// A recipe.
    #[error(transparent)]
    Recipe(#[from] image_build::RecipeError),
    /// User data, or the seed made of it.
    #[error(transparent)]
    Seed(#[from] first_boot::SeedError),
    /// A disk of ours.
    #[error(transparent)]
    Disk(#[from] disk::OfflineError),
    /// What was asked for cannot be.
    #[error("{0}")]
    Refused(String),
    /// The host refused.
    #[error("cannot {operation} {}", image_store::place_in_words(path))]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl OpError {
    pub(crate) fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> OpError {
        let path = path.into();
        move |source| OpError::Io { operation, path, source }
    }
}
