//! Wired and message-signalled interrupts as devices see them.

use std::io;
use std::sync::{Arc, Mutex};

use device_model::{IrqLine, MsiController, MsiMessage, MsiVector, lock};

use super::router::Platform;

/// An input of the I/O APIC.
pub(crate) struct SoftIrqLine {
    platform: Arc<Platform>,
    gsi: u32,
}

impl SoftIrqLine {
    /// Input `gsi`; one that does not exist is not connected.
    pub(crate) fn new(platform: Arc<Platform>, gsi: u32) -> SoftIrqLine {
        SoftIrqLine { platform, gsi }
    }
}

impl IrqLine for SoftIrqLine {
    fn set_level(&self, high: bool) {
        self.platform.set_irq(self.gsi, high);
    }
}

/// Hands out message-signalled vectors.
pub(crate) struct SoftMsi {
    platform: Arc<Platform>,
}

impl SoftMsi {
    pub(crate) fn new(platform: Arc<Platform>) -> SoftMsi {
        SoftMsi { platform }
    }
}

impl MsiController for SoftMsi {
    fn allocate(&self) -> io::Result<Arc<dyn MsiVector>> {
        Ok(Arc::new(SoftMsiVector { platform: Arc::clone(&self.platform), route: Mutex::new(None) }))
    }
}

struct SoftMsiVector {
    platform: Arc<Platform>,
    /// What to send, unless the guest has the vector masked.
    route: Mutex<Option<MsiMessage>>,
}

impl MsiVector for SoftMsiVector {
    fn route(&self, message: Option<MsiMessage>) -> io::Result<()> {
        *lock(&self.route) = message;
        Ok(())
    }

    fn signal(&self) {
        let route = *lock(&self.route);
        if let Some(message) = route {
            self.platform.deliver_msi(message);
        }
    }
}
