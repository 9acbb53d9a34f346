//! The panic device: a port by which a guest tells that its kernel panicked (QEMU, docs/specs/pvpanic; Linux's driver
//! is `drivers/misc/pvpanic`). Reading says which events are taken, writing tells of one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use device_model::{GuestReport, PortIo, ReportSink};

use crate::ports::stateless_device;

/// The kernel panicked.
const PANICKED: u8 = 1 << 0;
/// The kernel panicked, and a crash kernel takes over.
const CRASH_LOADED: u8 = 1 << 1;
/// The guest shuts down.
const SHUTDOWN: u8 = 1 << 2;
const EVENTS: [(u8, GuestReport); 3] = [
    (PANICKED, GuestReport::Panicked),
    (CRASH_LOADED, GuestReport::CrashLoaded),
    (SHUTDOWN, GuestReport::ShuttingDown),
];

/// How often a guest has told of what, since the device was made.
#[derive(Debug, Default)]
pub struct PanicCounters {
    events: [AtomicU64; EVENTS.len()],
}

impl PanicCounters {
    /// Panics, panics with a crash kernel, shutdowns.
    pub fn read(&self) -> [u64; 3] {
        std::array::from_fn(|index| self.events[index].load(Ordering::Relaxed))
    }
}

/// The panic device. One port.
pub struct PvPanic {
    sink: Arc<dyn ReportSink>,
    counters: Arc<PanicCounters>,
}

impl PvPanic {
    /// A device that tells `sink`.
    pub fn new(sink: Arc<dyn ReportSink>) -> PvPanic {
        PvPanic { sink, counters: Arc::default() }
    }

    /// What the guest has told so far.
    pub fn counters(&self) -> Arc<PanicCounters> {
        Arc::clone(&self.counters)
    }
}

impl PortIo for PvPanic {
    fn port_read(&mut self, offset: u16, data: &mut [u8]) {
        data.fill(0xff);
        if let (0, Some(first)) = (offset, data.first_mut()) {
            *first = EVENTS.iter().fold(0, |all, (bit, _)| all | bit);
        }
    }

    fn port_write(&mut self, offset: u16, data: &[u8]) {
        let (0, Some(value)) = (offset, data.first()) else { return };
        for ((bit, report), count) in EVENTS.iter().zip(&self.counters.events) {
            if value & bit != 0 {
                count.fetch_add(1, Ordering::Relaxed);
                self.sink.report(*report);
            }
        }
    }
}

stateless_device!(PvPanic, "pvpanic");

#[cfg(test)]
mod tests {
    use super::*;
    use device_model::fake::FakePower;
    use device_model::{Saved, Snapshot};

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
        assert_eq!(device.counters().read(), [3, 2, 2]);
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
