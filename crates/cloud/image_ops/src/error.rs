//! Why an action did not come to its end.

use image_import::ImportError;
use image_sources::{CatalogueError, FetchError, OciError};
use messages::Cancelled;
use vm_control::FailureClass;

/// Why something was not done with images. What it had begun is undone.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The store.
    #[error(transparent)]
    Store(#[from] image_store::StoreError),
    /// A name that nothing can have.
    #[error(transparent)]
    Name(#[from] image_model::NameError),
    /// The catalogue.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A download.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// An OCI image.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// A foreign image.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Building from packages.
    #[error(transparent)]
    Build(#[from] image_build::BuildError),
    /// A recipe.
    #[error(transparent)]
    Recipe(#[from] image_build::RecipeError),
    /// A disk of ours.
    #[error(transparent)]
    Disk(#[from] disk::OfflineError),
    /// What was asked for cannot be.
    #[error("{0}")]
    Refused(String),
    /// Nobody knows an image of that name.
    #[error("{0}")]
    Unknown(String),
    /// Nobody wants it any more.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl ImageError {
    /// What kind of failure it is.
    pub fn class(&self) -> FailureClass {
        match self {
            ImageError::Store(error) => error.class(),
            ImageError::Disk(error) => image_store::class_of_disk(error),
            ImageError::Fetch(error) | ImageError::Oci(OciError::Fetch(error)) => class_of_fetch(error),
            ImageError::Unknown(_)
            | ImageError::Oci(OciError::NotFound(_))
            | ImageError::Catalogue(CatalogueError::Unknown { .. }) => FailureClass::NotFound,
            ImageError::Name(_)
            | ImageError::Catalogue(_)
            | ImageError::Recipe(_)
            | ImageError::Oci(OciError::Image(_))
            | ImageError::Refused(_)
            | ImageError::Import(ImportError::Refused(_)) => FailureClass::Invalid,
            ImageError::Oci(OciError::Login(_))
            | ImageError::Import(_)
            | ImageError::Build(_)
            | ImageError::Cancelled(_) => FailureClass::Host,
        }
    }
}

fn class_of_fetch(error: &FetchError) -> FailureClass {
    match error {
        FetchError::NotFound { .. } => FailureClass::NotFound,
        FetchError::Busy(_) => FailureClass::Busy,
        FetchError::BadUrl { .. } => FailureClass::Invalid,
        _ => FailureClass::Host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_can_tell_failures_apart() {
        let fetch = |error: FetchError| ImageError::from(error).class();
        assert_eq!(ImageError::Unknown("no image is called x".to_owned()).class(), FailureClass::NotFound);
        assert_eq!(ImageError::Refused("no".to_owned()).class(), FailureClass::Invalid);
        assert_eq!(fetch(FetchError::Busy("a".into())), FailureClass::Busy);
        assert_eq!(fetch(FetchError::NoRoots), FailureClass::Host);
        let there = disk::OfflineError::Exists("a".into());
        assert_eq!(ImageError::from(there).class(), FailureClass::Exists);
    }
}
