//! What happens to a VM.

use serde::{Deserialize, Serialize};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since 1970-01-01 00:00 UTC.
    pub time_ms: u64,
    /// What.
    pub event: EventKind,
    /// Details for a person, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The guest begins, after the start and after each reset.
    Started,
    /// The guest stands still.
    Paused,
    /// The guest goes on.
    Resumed,
    /// The machine is reset.
    Reset,
    /// The machine goes back to a snapshot; the detail is its name.
    Restored,
    /// The guest crashed its CPU; the detail says which vCPU.
    TripleFault,
    /// The guest's kernel panicked.
    Panicked,
    /// The guest's kernel panicked, and another takes over to save what is left.
    CrashLoaded,
    /// The guest says that it shuts down.
    ShuttingDown,
    /// The host could not do something for a device; the detail says what, where, and what to do.
    HostFailure,
    /// A disk has become longer; the detail says which, and how long it is.
    DiskResized,
    /// A disk or card was attached; the detail says which.
    DeviceAttached,
    /// A disk or card is gone; the detail says which.
    DeviceDetached,
    /// The process got a signal; the detail is its number.
    Signal,
    /// The VM is over; the detail says how.
    Ended,
    /// Something that a newer version has.
    #[serde(other)]
    Unknown,
}
