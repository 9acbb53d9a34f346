//! Why something was not done with instances.

use image_import::ImportError;
use image_store::StoreError;
use messages::Cancelled;
use vm_control::FailureClass;

use crate::record::RecordFault;

/// Why something was not done with an instance. What it had begun is undone.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The instance's record.
    #[error(transparent)]
    Record(#[from] RecordFault),
    /// User data, or the seed made of it.
    #[error(transparent)]
    Seed(#[from] first_boot::SeedError),
    /// Its disk has nothing that boots, or cannot be read.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// It runs, or somebody else is at it.
    #[error("{0}")]
    Busy(String),
    /// What was asked for cannot be.
    #[error("{0}")]
    Refused(String),
    /// Nobody wants it any more.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
}

impl InstanceError {
    /// What kind of failure it is.
    pub fn class(&self) -> FailureClass {
        match self {
            InstanceError::Store(error) => error.class(),
            InstanceError::Busy(_) => FailureClass::Busy,
            InstanceError::Seed(first_boot::SeedError::Config(_))
            | InstanceError::Import(ImportError::Refused(_))
            | InstanceError::Refused(_) => FailureClass::Invalid,
            InstanceError::Record(_)
            | InstanceError::Seed(_)
            | InstanceError::Import(_)
            | InstanceError::Cancelled(_) => FailureClass::Host,
        }
    }
}
