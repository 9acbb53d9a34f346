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

/// What a guest tells of itself by the panic device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestReport {
    /// Its kernel panicked, and goes on as its own settings have it.
    Panicked,
    /// Its kernel panicked, and another kernel that was loaded for that takes over.
    CrashLoaded,
    /// It is about to shut down in good order.
    ShuttingDown,
}

/// Where a guest's reports go. A guest may report as often as it likes: whoever is told sees to it that this
/// costs nothing.
pub trait ReportSink: Send + Sync {
    /// Tells. Where a panic ends or pauses the run, the calling vCPU executes no further guest instruction.
    fn report(&self, report: GuestReport);
}
