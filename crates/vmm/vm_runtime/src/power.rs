//! The machine's power sink: the first request of a run wins, and no vCPU executes another instruction. And what the
//! guest tells of itself, of which each is passed on once a run, however often it is told; and what it lets go of.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};

use device_model::{GuestReport, HostFailure, PowerRequest, PowerSink, ReportSink, SlotSink};
use vcpu_model::Kick;
use vm_spec::OnPanic;

use crate::listener::Listener;

pub(crate) struct PowerLatch {
    requested: AtomicBool,
    /// The guest is to stand still until the driver has seen why.
    held: AtomicBool,
    /// A bit for each kind of report that was passed on.
    reported: AtomicU8,
    on_panic: OnPanic,
    kicks: OnceLock<Vec<Arc<dyn Kick>>>,
    listener: Arc<dyn Listener>,
}

impl PowerLatch {
    pub(crate) fn new(listener: Arc<dyn Listener>, on_panic: OnPanic) -> PowerLatch {
        PowerLatch {
            requested: AtomicBool::new(false),
            held: AtomicBool::new(false),
            reported: AtomicU8::new(0),
            on_panic,
            kicks: OnceLock::new(),
            listener,
        }
    }

    /// The vCPUs to stop. Set once, before any of them runs.
    pub(crate) fn set_vcpus(&self, kicks: Vec<Arc<dyn Kick>>) {
        // A latch serves one run; setting it twice would be a mistake of the caller's without consequence.
        let _ = self.kicks.set(kicks);
    }

    /// Whether no vCPU is to go on by itself: this run is over, or the driver has to decide.
    pub(crate) fn stops_vcpus(&self) -> bool {
        self.requested.load(Ordering::SeqCst) || self.held.load(Ordering::SeqCst)
    }

    /// The driver has seen why the guest was held; vCPUs go on when they are told.
    pub(crate) fn release(&self) {
        self.held.store(false, Ordering::SeqCst);
    }

    fn kick_all(&self) {
        self.kicks.get().into_iter().flatten().for_each(|kick| kick.kick());
    }
}

impl PowerSink for PowerLatch {
    fn request(&self, request: PowerRequest) {
        if self.requested.swap(true, Ordering::SeqCst) {
            return;
        }
        self.listener.power_requested(request);
        self.kick_all();
    }

    fn host_failure(&self, failure: HostFailure) {
        self.listener.host_failed(failure);
    }
}

impl SlotSink for PowerLatch {
    fn ejected(&self, slot: u8) {
        self.listener.slot_ejected(slot);
    }
}

impl ReportSink for PowerLatch {
    fn report(&self, report: GuestReport) {
        let bit = match report {
            GuestReport::Panicked => 1,
            GuestReport::CrashLoaded => 2,
            GuestReport::ShuttingDown => 4,
        };
        if self.reported.fetch_or(bit, Ordering::SeqCst) & bit != 0 {
            return;
        }
        // With `panic=-1` the guest would reset its machine with its next instructions: it is stopped first.
        let stops = report == GuestReport::Panicked && self.on_panic != OnPanic::Guest;
        self.held.fetch_or(stops, Ordering::SeqCst);
        self.listener.guest_reported(report);
        if stops {
            self.kick_all();
        }
    }
}
