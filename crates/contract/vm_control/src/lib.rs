//! The protocol that the process of a VM speaks at its control socket: words only, no I/O.
//!
//! The wire is JSON over HTTP on a unix socket. Served by `vm_runtime`; spoken by `vm_client` for everybody else.
//!
//! | request | answer |
//! |---|---|
//! | `GET /state` | [`Status`] |
//! | `GET /counters` | [`Counters`] |
//! | `GET /events` | a stream of [`Event`]s, one JSON object a line, until the VM ends |
//! | `PUT /pause`, `PUT /resume` | `{}` when it is done; repeating is no error |
//! | `PUT /power-button` | `{}` when it is pressed, for a paused guest when it goes on; the guest decides |
//! | `PUT /reset`, `PUT /stop` | `{}`; at once, like the switch at the wall |
//! | `PUT /resize-disk` with a [`ResizeDisk`] | `{}` when the disk is longer and the guest is told, a paused one when it goes on |
//! | `PUT /snapshot` with a [`SnapshotOrder`] | [`SnapshotTaken`] when all of it is on stable storage |
//! | `PUT /restore` with a [`RestoreOrder`] | `{}` when the machine is as it was then |
//! | `PUT /attach` with an [`AttachDevice`] | an [`Attached`] when the device is in its slot and the guest is told |
//! | `PUT /detach` with a [`DetachDevice`] | `{}` when the guest has let go of the device, and what was behind it is free |
//!
//! What cannot be done is answered by a [`Failure`], a problem detail (RFC 9457), under the status of its
//! [class](FailureClass).
//!
//! # Versions
//!
//! A VM outlives the programs that speak to it, so either side may be one version older than the other. [`VERSION`]
//! goes up when something is added; what is there keeps its name and its meaning, and nobody trips over what he does
//! not know. A client asks for [`Status`] first and sees by [`Status::protocol`] what the VM can be asked for.

mod counters;
mod event;
mod failure;
mod hotplug;
mod resize;
pub mod run_folder;
mod snapshot;
mod status;
mod verb;

pub use counters::{Counters, Figures};
pub use event::{Event, EventKind};
pub use failure::{Failure, FailureClass};
pub use hotplug::{AttachDevice, Attached, DetachDevice};
pub use resize::ResizeDisk;
pub use snapshot::{RestoreOrder, SnapshotOrder, SnapshotTaken};
pub use status::{CardStatus, DiskStatus, Phase, Status};
pub use verb::{EVENTS_PATH, Method, Misdirected, Verb};

/// The version that this code speaks. What each had not yet:
///
/// - 2: [`Verb::ResizeDisk`], [`EventKind::DiskResized`], [`Verb::Snapshot`], [`Verb::Restore`],
///   [`EventKind::Restored`], [`Verb::Attach`], [`Verb::Detach`], [`EventKind::DeviceAttached`],
///   [`EventKind::DeviceDetached`].
/// - 1: [`Status::disks`], [`Status::cards`]; a pause that the engine refuses was answered by 409 instead of 500.
/// - 0: [`Status::protocol`], [`Status::paused_by`], [`Status::panics`], [`Counters::code`], [`Failure::class`], and
///   events about panics and about the host.
pub const VERSION: u32 = 4;

#[cfg(test)]
mod tests;
