//! The small chips of the x86-64 machine, a file a chip. None of them has guest memory, and only the timer has a
//! thread, if a guest uses its interrupt.
//!
//! Each is a [`Device`](device_model::Device), a [`PortIo`](device_model::PortIo) whose offsets count from
//! the chip's first port, and a [`Snapshot`](device_model::Snapshot). Where they are on the bus is the
//! machine's business. May depend on `device_model`, and on `host_sys` for that thread.

mod acpi_ged;
mod acpi_power;
mod debug_exit;
mod exit_status;
mod i8042;
mod pit;
mod ports;
mod pvpanic;
mod rtc;
mod serial_16550;

pub use acpi_ged::{
    AcpiGed, EJECT_OFFSET, EVENT_GENERATION, EVENT_POWER_BUTTON, EVENT_SLOTS, FILLED_OFFSET, LEAVING_OFFSET,
};
pub use acpi_power::{
    AcpiPower, RESET_OFFSET, RESET_VALUE, SLEEP_CONTROL_OFFSET, SLEEP_STATUS_OFFSET, SLEEP_TYPE_S5,
};
pub use debug_exit::DebugExit;
pub use exit_status::ExitStatus;
pub use i8042::I8042;
pub use pit::{PORT_B_OFFSET, Pit};
pub use pvpanic::PvPanic;
pub use rtc::Rtc;
pub use serial_16550::{Serial, SerialOutput};
