//! The devices that are not on the PCI bus: chips at fixed ports.

use serde::{Deserialize, Serialize};

/// A chip of the x86-64 machine. Where it is and what it is wired to is told by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Chip {
    /// COM1.
    Serial,
    /// The real-time clock.
    Rtc,
    /// The timer, and port B beside it.
    Pit,
    /// The keyboard controller, for its reset line.
    Keyboard,
    /// ACPI's ways to power off and to reset.
    AcpiPower,
    /// ACPI's events: the power button.
    AcpiEvents,
    /// The ports on which test guests end the process.
    DebugExit {
        /// The first of them.
        port: u16,
    },
    /// The port that takes the exit status of the command for which the machine is there.
    ExitStatus,
    /// The panic device.
    Panic,
}

impl Chip {
    const ALL: [Chip; 9] = [
        Chip::Serial,
        Chip::Rtc,
        Chip::Pit,
        Chip::Keyboard,
        Chip::AcpiPower,
        Chip::AcpiEvents,
        Chip::DebugExit { port: 0 },
        Chip::ExitStatus,
        Chip::Panic,
    ];

    /// Whether a chip is called so.
    pub(crate) fn is_id(text: &str) -> bool {
        Chip::ALL.iter().any(|chip| chip.id() == text)
    }

    /// The name of its saved state.
    pub fn id(self) -> &'static str {
        match self {
            Chip::Serial => "serial0",
            Chip::Rtc => "rtc",
            Chip::Pit => "pit",
            Chip::Keyboard => "i8042",
            Chip::AcpiPower => "acpi-power",
            Chip::AcpiEvents => "acpi-ged",
            Chip::DebugExit { .. } => "debug-exit",
            Chip::ExitStatus => "exit-status",
            Chip::Panic => "pvpanic",
        }
    }
}
