//! Assembly: a validated spec, an engine's VM and open backends become a machine. Nothing else happens here.
//!
//! This is the only crate that names concrete devices. It knows no engine: it is generic over
//! [`vcpu_model::Vm`], and its tests run on a scripted one. Read [`build`](Machine::build) from top to bottom.

mod address_map;
mod backends;
mod build;
mod bus;
mod devices;
mod machine;
mod reset_vector;
#[cfg(test)]
mod tests;

pub use backends::{BackendError, Backends};
pub use build::{BuildError, card_id, disk_id};
pub use bus::{Bus, Overlap};
pub use machine::{DeviceStateError, Machine, MachineState};
