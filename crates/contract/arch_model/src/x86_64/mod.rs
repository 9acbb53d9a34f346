//! x86-64.

mod check;
mod cpu_model;
pub mod cpuid;
pub mod layout;
pub mod msr;
mod passed;
mod platform;
mod state;

pub use check::BadState;
pub use cpu_model::{CpuModel, UnknownCpuModel};
pub use platform::{ClockState, IoApicPin, IoApicState, PlatformState};
pub use state::{
    CpuState, DebugRegisters, DescriptorTable, ExtendedState, LapicState, MsrValue, PendingEvents,
    PendingException, Registers, RunState, Segment, SystemRegisters,
};
