//! Machine-wide state that an engine keeps for the guest: the I/O APIC and the clock.

use serde::{Deserialize, Serialize};

/// What an engine holds besides its vCPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlatformState {
    /// The I/O APIC.
    pub ioapic: IoApicState,
    /// The guest's paravirtual clock.
    pub clock: ClockState,
}

impl PlatformState {
    /// Version of this layout, raised when its meaning changes.
    pub const VERSION: u32 = 1;
}

/// I/O APIC (82093AA data sheet, section 3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoApicState {
    /// APIC ID register, bits 27:24 shifted down.
    pub id: u8,
    /// Register selected by IOREGSEL.
    pub selected: u8,
    /// Levels of the input lines, a bit a pin.
    pub lines: u32,
    /// Redirection table.
    pub pins: Vec<IoApicPin>,
}

/// One redirection entry as its 64-bit register (82093AA, 3.2.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoApicPin(pub u64);

/// kvmclock and what ties it to host time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockState {
    /// Nanoseconds that the guest's clock shows.
    pub guest_ns: u64,
    /// Host realtime in nanoseconds at the same moment, where the engine knows it.
    pub host_realtime_ns: Option<u64>,
}
