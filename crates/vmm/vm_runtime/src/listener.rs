//! Who is told what happens in a power cycle.

use device_model::{GuestReport, HostFailure, PowerRequest};
use vcpu_model::{EngineError, Halt, VcpuIndex};

/// Where a power cycle tells what happens in it. Called from any of its threads; never waits.
pub trait Listener: Send + Sync {
    /// A device asks for the end of this run. No vCPU goes on.
    fn power_requested(&self, request: PowerRequest);

    /// The host could not do something for a device.
    fn host_failed(&self, failure: HostFailure);

    /// The guest told something of itself, for the first time in this run.
    fn guest_reported(&self, report: GuestReport);

    /// The guest let go of the device in a PCI slot, as it was asked.
    fn slot_ejected(&self, slot: u8);

    /// A vCPU left guest code for a reason of its own.
    fn vcpu_stopped(&self, index: VcpuIndex, reason: Result<Halt, EngineError>);
}
