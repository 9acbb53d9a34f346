//! Why a VM cannot be started, kept running, or saved.

use std::io;

use machine::{BackendError, BootError, BuildError, DeviceStateError};
use vcpu_model::{EngineError, VcpuIndex};
use vm_spec::blueprint::{Misfit, ResolveError};

use crate::snapshot::SnapshotFailure;

/// Why a VM could not be started or kept running. A guest's own end is an [`Outcome`](crate::Outcome).
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A disk, network card or console of the host could not be opened.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// What is wanted comes to no machine.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// What the machine was resolved to could not be kept for its next start.
    #[error("cannot keep the machine's description for its next start")]
    Keep(#[source] io::Error),
    /// The machine could not be put together.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The machine could not be started.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// A device does not take its saved state.
    #[error(transparent)]
    Restore(#[from] DeviceStateError),
    /// The snapshot that it is to go on from is not to be believed, or its disks cannot be put in their places.
    #[error(transparent)]
    Snapshot(#[from] SnapshotFailure),
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The host refused a thread.
    #[error("cannot start the thread of vCPU {index}")]
    Thread {
        /// Which vCPU.
        index: VcpuIndex,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The host can do no more for a device. The message names the device.
    #[error("{0}")]
    Device(String),
    /// The host gives no random bytes for a machine's generation id.
    #[error("the host gives no random bytes")]
    Random(#[source] io::Error),
    /// The host refused a descriptor.
    #[error("cannot set up the event loop")]
    EventLoop(#[from] io::Error),
}

impl From<Misfit> for RunError {
    fn from(misfit: Misfit) -> RunError {
        SnapshotFailure::Misfit(misfit).into()
    }
}

/// Why a machine that is paused could not be saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// A device.
    #[error(transparent)]
    Device(#[from] DeviceStateError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A vCPU has ended.
    #[error("vCPU {0} has ended, and has no state to be saved")]
    Vcpu(VcpuIndex),
}
