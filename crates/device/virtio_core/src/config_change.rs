//! Telling the driver that configuration space has changed (2.2.4, 4.1.5.4): a disk or a terminal was
//! resized, a link went up.

use std::fmt;
use std::sync::Arc;

/// How a change of configuration space reaches the driver. Implemented by the transport.
pub trait ConfigInterrupt: Send + Sync {
    /// What the device's `read_config` answers has changed.
    fn signal_config_changed(&self);
}

/// A device's handle for announcing changes of its configuration space. Cheap to clone; callable from any
/// thread, also with the device's own locks held.
#[derive(Clone)]
pub struct ConfigChange {
    target: Arc<dyn ConfigInterrupt>,
}

impl ConfigChange {
    /// A handle that announces to `target`.
    pub fn new(target: Arc<dyn ConfigInterrupt>) -> ConfigChange {
        ConfigChange { target }
    }

    /// Announces that `read_config` answers something new from now on.
    pub fn notify(&self) {
        self.target.signal_config_changed();
    }
}

impl fmt::Debug for ConfigChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConfigChange")
    }
}
