//! Interrupts into the guest and doorbells out of it, as devices see them.

use std::io;
use std::sync::Arc;

use crate::EventFd;

/// A wired interrupt: one input of the interrupt controller.
pub trait IrqLine: Send + Sync {
    /// Drives the line. Edge-triggered inputs see the change from low to high.
    fn set_level(&self, high: bool);

    /// A short pulse, for edge-triggered inputs.
    fn pulse(&self) {
        self.set_level(true);
        self.set_level(false);
    }
}

/// A message-signalled interrupt: a write of `data` to `address` (PCI Local Bus 3.0, 6.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MsiMessage {
    /// Address written, in the interrupt controller's window.
    pub address: u64,
    /// Value written.
    pub data: u32,
}

/// One vector of a device: programmed by the guest, signalled by the device.
pub trait MsiVector: Send + Sync {
    /// Sets what the vector sends; `None` while the guest has it masked. Called by the transport.
    fn route(&self, message: Option<MsiMessage>) -> io::Result<()>;

    /// Sends the message. Cheap, callable from any thread. Does nothing without a route.
    fn signal(&self);
}

/// Hands out vectors to devices as they are built.
pub trait MsiController: Send + Sync {
    /// A vector without a route. Released when dropped.
    fn allocate(&self) -> io::Result<Arc<dyn MsiVector>>;
}

/// Turns a guest's write to an address into an event without a detour over the bus.
///
/// An engine that cannot answers `Ok(false)`: then the write arrives on the bus and the device signals the
/// event itself. Callers must work either way.
pub trait Doorbells: Send + Sync {
    /// Signals `event` at each guest write to guest-physical `address`, of any width and value.
    fn attach(&self, address: u64, event: &EventFd) -> io::Result<bool>;

    /// Undoes [`attach`](Doorbells::attach) with the same arguments.
    fn detach(&self, address: u64, event: &EventFd) -> io::Result<()>;
}
