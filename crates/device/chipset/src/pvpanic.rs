//! The panic device: a port by which a guest tells that its kernel panicked (QEMU, docs/specs/pvpanic; Linux's driver
//! is `drivers/misc/pvpanic`). Reading says which events are taken, writing tells of one.

use std::sync::Arc;

use device_model::{Figures, GuestReport, PortIo, ReportSink};

use crate::ports::stateless_device;

/// The kernel panicked.
const PANICKED: u8 = 1 << 0;
/// The kernel panicked, and a crash kernel takes over.
const CRASH_LOADED: u8 = 1 << 1;
/// The guest shuts down.
const SHUTDOWN: u8 = 1 << 2;
/// Bits, what they report, and how that is counted.
const EVENTS: [(u8, GuestReport, &str); 3] = [
    (PANICKED, GuestReport::Panicked, "panicked"),
    (CRASH_LOADED, GuestReport::CrashLoaded, "crash_loaded"),
    (SHUTDOWN, GuestReport::ShuttingDown, "shutting_down"),
];

/// The panic device. One port.
pub struct PvPanic {
    sink: Arc<dyn ReportSink>,
    /// How often the guest has told of each of [`EVENTS`].
    counts: [u64; EVENTS.len()],
}

impl PvPanic {
    /// A device that tells `sink`.
    pub fn new(sink: Arc<dyn ReportSink>) -> PvPanic {
        PvPanic { sink, counts: [0; EVENTS.len()] }
    }
}

impl PortIo for PvPanic {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        data.fill(0xff);
        if let (0, Some(first)) = (offset, data.first_mut()) {
            *first = EVENTS.iter().fold(0, |all, (bit, ..)| all | bit);
        }
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        let (0, Some(value)) = (offset, data.first()) else { return };
        for ((bit, report, _), count) in EVENTS.iter().zip(&mut self.counts) {
            if value & bit != 0 {
                *count += 1;
                self.sink.report(*report);
            }
        }
    }
}

stateless_device!(PvPanic, "pvpanic", {
    fn figures(&self) -> Figures {
        EVENTS.iter().zip(self.counts).map(|((.., name), count)| (*name, count)).collect()
    }
});

#[cfg(test)]
mod tests {
    use super::*;
    use device_model::fake::FakePower;
    use device_model::{Device, Saved, Snapshot};

    #[test]
    fn each_bit_is_a_report_and_others_are_nothing() {
        use GuestReport::{CrashLoaded, Panicked, ShuttingDown};
        let sink = Arc::new(FakePower::default());
        let mut device = PvPanic::new(sink.clone());
        let cases: &[(u16, &[u8], &[GuestReport])] = &[
            (0, &[1], &[Panicked]),
            (0, &[2], &[CrashLoaded]),
            (0, &[4], &[ShuttingDown]),
            (0, &[7], &[Panicked, CrashLoaded, ShuttingDown]),
            (0, &[0xf8], &[]),
            (0, &[0], &[]),
            (0, &[1, 2, 4, 0xff], &[Panicked]),
            (1, &[1], &[]),
            (0, &[], &[]),
        ];
        for (offset, data, reports) in cases {
            device.port_write(*offset, data);
            assert_eq!(sink.take_reports(), *reports, "{offset} {data:?}");
        }
        assert_eq!(device.figures(), [("panicked", 3), ("crash_loaded", 2), ("shutting_down", 2)]);
        assert_eq!(device.save(), Saved::Stateless);
    }

    #[test]
    fn reading_says_what_is_taken() {
        let mut device = PvPanic::new(Arc::new(FakePower::default()));
        let mut data = [0; 2];
        device.port_read(0, &mut data);
        assert_eq!(data, [7, 0xff]);
        device.port_read(1, &mut data);
        assert_eq!(data, [0xff; 2]);
        crate::ports::tests::hammer(&mut device, |_, _| {});
    }
}
