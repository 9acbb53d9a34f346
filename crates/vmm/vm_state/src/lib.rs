//! All of a machine's state but its RAM, and how it is written and believed.
//!
//! ```text
//! machine that stands still ──save──► VmState ──to_bytes──► header, table of sections, sections
//!                                        ▲                                  │
//! machine that goes on ◄──power on────────┴──── check ◄──── from_bytes ◄────┘
//! ```
//!
//! Bytes come from a file that may be damaged, from another program, or somebody's work. A [`VmState`] that was read is
//! whole: each device of its blueprint has exactly one state, and each vCPU and the platform are in a state that they
//! can be in. What is within a device's state is the device's to check, when it takes it.
//!
//! May not depend on engines, devices or the machine: states are bytes here, each with a version of its own.

mod check;
mod error;
mod file;
#[cfg(test)]
mod tests;

use arch_model::x86_64::{CpuState, PlatformState};
use serde::{Deserialize, Serialize};
use vm_spec::Blueprint;

pub use error::StateError;

/// A machine at one moment, at which nothing of it moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmState {
    /// What it consists of.
    pub blueprint: Blueprint,
    /// Its devices, in the order of the blueprint.
    pub devices: Vec<DeviceState>,
    /// What the engine held besides vCPUs.
    pub platform: PlatformState,
    /// vCPUs, by index.
    pub vcpus: Vec<CpuState>,
}

impl VmState {
    /// How long it has been since it was saved, in nanoseconds, if the host's clock shows `now_ns` since 1970; nothing
    /// where that is not known or cannot be.
    pub fn age_ns(&self, now_ns: u64) -> u64 {
        self.platform.age_ns(now_ns)
    }

    /// Has time pass for it: the clock by which its guest tells the time goes on by so many nanoseconds. Devices have none;
    /// the real-time clock shows the host's time as it is.
    pub fn let_pass(&mut self, passed_ns: u64) {
        let VmState { blueprint, devices: _, platform, vcpus } = self;
        platform.let_pass(passed_ns, &blueprint.cpuid);
        vcpus.iter_mut().for_each(|vcpu| vcpu.let_pass(passed_ns));
    }
}

/// One device's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceState {
    /// The device's name.
    pub id: String,
    /// Version and state, as the device wrote them; nothing for a device that is always in the same state.
    pub bytes: Option<Vec<u8>>,
}
