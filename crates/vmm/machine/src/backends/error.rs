//! Why something of the host cannot be behind a device.

use boot_loader::LoadError;
use char_backend::CharError;
use disk::{OpenError, ReleaseError};
use net_backend::TapError;
use vm_spec::DeviceId;

/// A file or an interface of the host cannot be used. The message names which and why.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The kernel, an initrd or a module.
    #[error(transparent)]
    Boot(#[from] LoadError),
    /// What is to be behind a device, or is.
    #[error("device {id}")]
    Device {
        /// The device.
        id: DeviceId,
        /// What is wrong.
        source: DeviceError,
    },
    /// Something is behind the device already.
    #[error("device {0} has something behind it already; remove that first")]
    Taken(DeviceId),
    /// Nothing is behind it.
    #[error("nothing is behind device {0}")]
    Unknown(DeviceId),
}

/// What is wrong with what is behind a device.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// A disk.
    #[error(transparent)]
    Disk(#[from] OpenError),
    /// A tap interface.
    #[error(transparent)]
    Tap(#[from] TapError),
    /// A card that nothing is behind.
    #[error("the host has no descriptors left for it")]
    Descriptor(#[source] std::io::Error),
    /// A console.
    #[error(transparent)]
    Console(#[from] CharError),
    /// A disk that cannot be given back.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// It was to be given back while the device is still there: a mistake of ours.
    #[error("it is still used by a device of the machine")]
    StillUsed,
}

impl BackendError {
    /// The error of the device `id`.
    pub(super) fn of<E: Into<DeviceError>>(id: &DeviceId) -> impl Fn(E) -> BackendError {
        move |source| BackendError::Device { id: id.clone(), source: source.into() }
    }
}
