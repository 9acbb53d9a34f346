//! What a device is: how the guest reaches it, how it interrupts, and how its state is saved.
//!
//! A device gets everything it needs (memory, interrupt line, clock, backend) when it is built and never
//! reaches outward: it knows no engine, no bus, and no other device. This crate has no threads and does no
//! I/O. Implemented by: the crates under `device/`. Used by: `machine` and `vm_runtime`. Lines, vectors and
//! doorbells are implemented by the engines, and by [`fake`] for tests.

mod access;
mod clock;
pub mod fake;
mod interrupt;
mod mac;
mod power;
mod snapshot;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use access::{BarKind, BarRegion, Mmio, PciFunction, PortIo, read_register, write_register};
pub use clock::{Clock, HostClock};
pub use interrupt::{Doorbells, IrqLine, MsiController, MsiMessage, MsiVector};
pub use mac::{BadMac, MacAddress};
pub use power::{Consequence, GuestReport, HostFailure, PowerRequest, PowerSink, ReportSink, SlotSink};
pub use snapshot::{AnySnapshot, Saved, Snapshot, SnapshotError, decode_state};
pub use vmm_sys_util::eventfd::EventFd;

/// What every device of a machine can be told to do.
pub trait Device: AnySnapshot + Send {
    /// Unique in its machine and stable across runs: `serial0`, `disk-root`. The key of its saved state.
    fn id(&self) -> &str;

    /// Puts the device into its power-on state, as the platform's reset line does. In-flight work is drained.
    fn reset(&mut self);

    /// Quiesces: when this returns, the device touches neither guest memory nor its backend until
    /// [`resume`](Device::resume). Guest accesses do not arrive meanwhile.
    fn pause(&mut self);

    /// Takes up work again after [`pause`](Device::pause).
    fn resume(&mut self);

    /// Takes notice of what has changed behind the device, such as a disk's length, and tells the guest. A paused device
    /// does so when it resumes. Most have nothing behind them that changes.
    fn follow_backend(&mut self) {}

    /// What the device has done since it was made. Most count nothing.
    fn figures(&self) -> Figures {
        Figures::new()
    }
}

/// Figures of what a device has done, each under its one name. All but [`HELD`] only grow.
pub type Figures = Vec<(&'static str, u64)>;

/// The figure of requests that the host could not carry out and that wait, now, for the machine to be resumed.
pub const HELD: &str = "held";

/// A device (or a face of one) shared between the bus and the state driver.
pub type Shared<T> = Arc<Mutex<T>>;

/// Wraps a device for sharing.
pub fn shared<T>(device: T) -> Shared<T> {
    Arc::new(Mutex::new(device))
}

/// Locks a device. A thread that panicked while it held the lock does not take the machine down with it:
/// the device is used on in the state it was left in.
pub fn lock<T: ?Sized>(device: &Mutex<T>) -> MutexGuard<'_, T> {
    device.lock().unwrap_or_else(PoisonError::into_inner)
}
