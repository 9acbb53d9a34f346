//! Running a machine: a thread a vCPU, one state driver, signals, and the control sockets.
//!
//! ```text
//!             start           pause
//!  (build) ─────────► Running ─────► Paused
//!                        │  ◄───────┘
//!                        │    resume
//!                        ▼
//!   reset, shutdown, crash, stop ─► (torn down; built anew after a reset)
//! ```
//!
//! A [`PowerCycle`] is a machine with its vCPUs, from the moment it is powered on, cold or from a saved state. The driver
//! owns every transition: vCPU threads, devices, signals and the control socket only send it messages ([`inbox`]). A
//! reset is a power cycle: the machine is torn down and built again on the same backends. Knows no engine and no
//! concrete device.

mod control;
mod cycle;
mod driver;
mod error;
mod events;
mod hotplug;
mod inbox;
mod keeper;
mod listener;
mod outcome;
mod power;
mod removals;
mod report;
mod resize;
mod snapshot;
#[cfg(test)]
mod tests;
mod trouble;
mod vcpu_thread;

pub use control::{ControlError, ControlSocket};
pub use cycle::{PowerCycle, PowerOn};
pub use driver::{Elsewhere, Options, run};
pub use error::{RunError, SaveError};
pub use keeper::Keeper;
pub use listener::Listener;
pub use outcome::Outcome;
pub use snapshot::SnapshotFailure;
pub use trouble::Reach;
