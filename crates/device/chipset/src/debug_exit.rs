//! The port that test guests end with: writing V ends the process with status `(V << 1) | 1`.
//!
//! Off unless asked for on the command line.

use std::sync::Arc;

use device_model::{Device, PortIo, PowerRequest, PowerSink, Saved, Snapshot, SnapshotError};

/// The debug exit port. One port, write-only.
pub struct DebugExit {
    power: Arc<dyn PowerSink>,
}

impl DebugExit {
    /// A port that asks `power`.
    pub fn new(power: Arc<dyn PowerSink>) -> DebugExit {
        DebugExit { power }
    }
}

impl PortIo for DebugExit {
    fn port_read(&mut self, _offset: u16, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        if let (0, Some(value)) = (offset, data.first()) {
            self.power.request(PowerRequest::DebugExit(*value));
        }
    }
}

impl Device for DebugExit {
    fn id(&self) -> &str {
        "debug-exit"
    }

    fn reset(&mut self) {}

    fn pause(&mut self) {}

    fn resume(&mut self) {}
}

impl Snapshot for DebugExit {
    const VERSION: u32 = 1;
    type State = ();

    fn save(&self) -> Saved<()> {
        let DebugExit { power: _ } = self;
        Saved::Stateless
    }

    fn restore(&mut self, (): ()) -> Result<(), SnapshotError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use device_model::fake::FakePower;

    #[test]
    fn the_lowest_byte_counts() {
        let power = Arc::new(FakePower::default());
        let mut port = DebugExit::new(power.clone());
        port.port_write(0, &[3, 9, 9, 9]);
        port.port_write(1, &[4]);
        port.port_write(0, &[]);
        assert_eq!(power.take(), [PowerRequest::DebugExit(3)]);
        let mut data = [0; 2];
        port.port_read(0, &mut data);
        assert_eq!(data, [0xff; 2]);
        assert_eq!(port.save(), Saved::Stateless);
    }
}
