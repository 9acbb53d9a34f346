//! The ports that test guests end with, as QEMU's `isa-debug-exit` of four ports: writing V, with 1, 2 or 4 bytes, ends the
//! process with status `(V << 1) | 1`, of which 8 bits are left. They read as zero.
//!
//! Off unless asked for on the command line.

use std::sync::Arc;

use device_model::{PortIo, PowerRequest, PowerSink};

use crate::ports::stateless_device;

/// The debug exit ports.
pub struct DebugExit {
    power: Arc<dyn PowerSink>,
}

impl DebugExit {
    /// How many ports there are: test kernels write four bytes.
    pub const PORTS: u16 = 4;

    /// Ports that ask `power`.
    pub fn new(power: Arc<dyn PowerSink>) -> DebugExit {
        DebugExit { power }
    }
}

impl PortIo for DebugExit {
    fn port_read(&mut self, _offset: u16, data: &mut [u8]) {
        data.fill(0);
    }

    fn port_write(&mut self, _offset: u16, data: &[u8]) {
        if let Some(value) = data.first() {
            self.power.request(PowerRequest::DebugExit(*value));
        }
    }
}

stateless_device!(DebugExit, "debug-exit");

#[cfg(test)]
mod tests {
    use super::*;
    use device_model::fake::FakePower;
    use device_model::{Saved, Snapshot};

    #[test]
    fn every_width_at_every_port_counts_by_its_lowest_byte() {
        let power = Arc::new(FakePower::default());
        let mut port = DebugExit::new(power.clone());
        for width in [1, 2, 4] {
            for offset in 0..=DebugExit::PORTS - width {
                let value = [offset as u8 + 3, 9, 9, 9];
                port.port_write(offset, &value[..width.into()]);
                assert_eq!(power.take(), [PowerRequest::DebugExit(value[0])], "{width} bytes at {offset}");
                let mut data = [0xff; 4];
                port.port_read(offset, &mut data[..width.into()]);
                assert!(data[..width.into()].iter().all(|byte| *byte == 0));
            }
        }
        assert_eq!(port.save(), Saved::Stateless);
    }
}
