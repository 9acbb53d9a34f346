//! The port on which a guest that is there for one command tells how that ended: the process ends with the same status.

use std::sync::Arc;

use device_model::{PortIo, PowerRequest, PowerSink};

use crate::ports::stateless_device;

/// The exit status port. One port, write-only.
pub struct ExitStatus {
    power: Arc<dyn PowerSink>,
}

impl ExitStatus {
    /// A port that asks `power`.
    pub fn new(power: Arc<dyn PowerSink>) -> ExitStatus {
        ExitStatus { power }
    }
}

impl PortIo for ExitStatus {
    fn port_read(&mut self, _offset: u16, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        if let (0, Some(status)) = (offset, data.first()) {
            self.power.request(PowerRequest::Exit(*status));
        }
    }
}

stateless_device!(ExitStatus, "exit-status");

#[cfg(test)]
mod tests {
    use super::*;
    use device_model::fake::FakePower;
    use device_model::{Saved, Snapshot};

    #[test]
    fn every_status_is_told_as_it_is() {
        let power = Arc::new(FakePower::default());
        let mut port = ExitStatus::new(power.clone());
        for status in 0..=255 {
            port.port_write(0, &[status, 9]);
            assert_eq!(power.take(), [PowerRequest::Exit(status)]);
        }
        port.port_write(1, &[4]);
        port.port_write(0, &[]);
        assert_eq!(power.take(), []);
        let mut data = [0; 2];
        port.port_read(0, &mut data);
        assert_eq!(data, [0xff; 2]);
        assert_eq!(port.save(), Saved::Stateless);
    }
}
