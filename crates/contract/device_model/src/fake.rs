//! Stand-ins for an engine's half of the contract, for tests of devices and of the machine.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::{
    Clock, Doorbells, EventFd, GuestReport, HostFailure, IrqLine, MsiController, MsiMessage, MsiVector,
    PowerRequest, PowerSink, ReportSink, SlotSink, lock,
};

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct FakeClock {
    nanos: AtomicU64,
}

impl FakeClock {
    /// Moves both clocks on.
    pub fn advance(&self, by: Duration) {
        self.nanos.fetch_add(by.as_nanos() as u64, Ordering::SeqCst);
    }
}

impl Clock for FakeClock {
    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::SeqCst))
    }

    fn realtime(&self) -> Duration {
        self.monotonic()
    }
}

/// An interrupt line that remembers its level and counts rising edges.
#[derive(Debug, Default)]
pub struct FakeIrqLine {
    high: AtomicBool,
    edges: AtomicU64,
}

impl FakeIrqLine {
    /// Whether the line is high now.
    pub fn is_high(&self) -> bool {
        self.high.load(Ordering::SeqCst)
    }

    /// How often the line has gone from low to high.
    pub fn edges(&self) -> u64 {
        self.edges.load(Ordering::SeqCst)
    }
}

impl IrqLine for FakeIrqLine {
    fn set_level(&self, high: bool) {
        if high && !self.high.swap(high, Ordering::SeqCst) {
            self.edges.fetch_add(1, Ordering::SeqCst);
        }
        self.high.store(high, Ordering::SeqCst);
    }
}

/// An interrupt controller that records the messages it is sent.
#[derive(Clone, Debug, Default)]
pub struct FakeMsi {
    sent: Arc<Mutex<Vec<MsiMessage>>>,
}

impl FakeMsi {
    /// The messages sent since the last call.
    pub fn take(&self) -> Vec<MsiMessage> {
        std::mem::take(&mut *lock(&self.sent))
    }
}

impl MsiController for FakeMsi {
    fn allocate(&self) -> io::Result<Arc<dyn MsiVector>> {
        Ok(Arc::new(FakeVector { sent: Arc::clone(&self.sent), route: Mutex::new(None) }))
    }
}

struct FakeVector {
    sent: Arc<Mutex<Vec<MsiMessage>>>,
    route: Mutex<Option<MsiMessage>>,
}

impl MsiVector for FakeVector {
    fn route(&self, message: Option<MsiMessage>) -> io::Result<()> {
        *lock(&self.route) = message;
        Ok(())
    }

    fn signal(&self) {
        if let Some(message) = *lock(&self.route) {
            lock(&self.sent).push(message);
        }
    }
}

/// Doorbells of an engine that has none: every write arrives on the bus.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDoorbells;

impl Doorbells for NoDoorbells {
    fn attach(&self, _address: u64, _event: &EventFd) -> io::Result<bool> {
        Ok(false)
    }

    fn detach(&self, _address: u64, _event: &EventFd) -> io::Result<()> {
        Ok(())
    }
}

/// A power sink that remembers what was asked.
#[derive(Debug, Default)]
pub struct FakePower {
    requests: Mutex<Vec<PowerRequest>>,
    reports: Mutex<Vec<GuestReport>>,
    failures: Mutex<Vec<HostFailure>>,
    ejected: Mutex<Vec<u8>>,
}

impl FakePower {
    /// The requests since the last call.
    pub fn take(&self) -> Vec<PowerRequest> {
        std::mem::take(&mut *lock(&self.requests))
    }

    /// The failures since the last call.
    pub fn take_failures(&self) -> Vec<HostFailure> {
        std::mem::take(&mut *lock(&self.failures))
    }

    /// The guest's reports since the last call.
    pub fn take_reports(&self) -> Vec<GuestReport> {
        std::mem::take(&mut *lock(&self.reports))
    }

    /// The slots that the guest let go of since the last call.
    pub fn take_ejected(&self) -> Vec<u8> {
        std::mem::take(&mut *lock(&self.ejected))
    }
}

impl ReportSink for FakePower {
    fn report(&self, report: GuestReport) {
        lock(&self.reports).push(report);
    }
}

impl SlotSink for FakePower {
    fn ejected(&self, slot: u8) {
        lock(&self.ejected).push(slot);
    }
}

impl PowerSink for FakePower {
    fn request(&self, request: PowerRequest) {
        lock(&self.requests).push(request);
    }

    fn host_failure(&self, failure: HostFailure) {
        lock(&self.failures).push(failure);
    }
}
