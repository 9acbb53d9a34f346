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
//! The driver owns every transition: vCPU threads, devices, signals and the control socket only send it
//! messages ([`inbox`]). A reset is a power cycle: the machine is torn down and built again on the same
//! backends. Knows no engine and no concrete device.

mod control;
mod cycle;
mod driver;
mod events;
mod inbox;
mod outcome;
mod power;
mod report;
#[cfg(test)]
mod tests;
mod trouble;
mod vcpu_thread;

pub use control::{ControlError, ControlSocket};
pub use driver::{Options, RunError, run};
pub use outcome::Outcome;
pub use trouble::Reach;
