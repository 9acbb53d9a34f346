//! What a device can ask of the machine as a whole.

/// A request that ends or restarts the guest's run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerRequest {
    /// Reset the whole machine (keyboard controller, ACPI reset register).
    Reset,
    /// Power off (ACPI S5).
    Shutdown,
    /// End the process with status `(value << 1) | 1` (test guests' port).
    DebugExit(u8),
}

/// Where devices send power requests. When `request` returns on a vCPU's thread, that vCPU executes no
/// further guest instruction.
pub trait PowerSink: Send + Sync {
    /// Asks. The first request of a run wins.
    fn request(&self, request: PowerRequest);
}
