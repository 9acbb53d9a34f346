//! Assembly: a [`Blueprint`](vm_spec::Blueprint), an engine's VM and open backends become a machine. Nothing else happens
//! here.
//!
//! ```text
//! Machine::assemble ─┬─ boot::load ──── vCPU 0 enters the kernel
//!                    └─ restore ─────── all go on where they were
//! ```
//!
//! This is the only crate that names concrete devices. It knows no engine: it is generic over
//! [`vcpu_model::Vm`], and its tests run on a scripted one. Read [`assemble`](Machine::assemble) from top to bottom.

mod assemble;
mod backends;
pub mod boot;
mod bus;
mod devices;
mod error;
mod functions;
mod generation;
mod machine;
mod reset_vector;
#[cfg(test)]
mod tests;

pub use backends::{BackendError, BackendSpec, Backends, DeviceError};
pub use bus::{Bus, Overlap};
pub use devices::Sinks;
pub use error::{BootError, BuildError};
pub use generation::GenerationId;
pub use machine::{DeviceStateError, Machine};
