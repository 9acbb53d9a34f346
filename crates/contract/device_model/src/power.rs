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
    /// End the process with this status: that of the command for which the machine was there.
    Exit(u8),
}

/// Something that the host could not do for a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFailure {
    /// The device's id.
    pub device: String,
    /// What is wrong, for a person: a clause without the device's name.
    pub what: String,
    /// What follows from it.
    pub consequence: Consequence,
}

/// What follows from a failure of the host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consequence {
    /// The guest was given an error, or will lose something: a person should know.
    Told,
    /// Requests of the guest's are held until the machine is paused and resumed.
    Held,
    /// The device cannot serve its guest: the machine cannot go on.
    Fatal,
}

/// Where devices send what concerns the machine as a whole. When `request` returns on a vCPU's thread, that vCPU executes no
/// further guest instruction.
pub trait PowerSink: Send + Sync {
    /// Asks. The first request of a run wins.
    fn request(&self, request: PowerRequest);

    /// Tells of a failure. Callable from any thread; never waits.
    fn host_failure(&self, failure: HostFailure);
}

/// Who takes a device out of a PCI slot when the guest has let go of it. Callable from any thread; never waits.
pub trait SlotSink: Send + Sync {
    /// The guest uses the device in `slot` (its device number on bus 0) no longer, as it was asked.
    fn ejected(&self, slot: u8);
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
