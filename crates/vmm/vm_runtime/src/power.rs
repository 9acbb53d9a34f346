//! The machine's power sink: the first request of a run wins, and no vCPU executes another instruction.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use device_model::{HostFailure, PowerRequest, PowerSink};
use vcpu_model::Kick;

use crate::inbox::{Message, Outbox};

pub(crate) struct PowerLatch {
    requested: AtomicBool,
    kicks: OnceLock<Vec<Arc<dyn Kick>>>,
    outbox: Outbox,
}

impl PowerLatch {
    pub(crate) fn new(outbox: Outbox) -> PowerLatch {
        PowerLatch { requested: AtomicBool::new(false), kicks: OnceLock::new(), outbox }
    }

    /// The vCPUs to stop. Set once, before any of them runs.
    pub(crate) fn set_vcpus(&self, kicks: Vec<Arc<dyn Kick>>) {
        // A latch serves one run; setting it twice would be a mistake of the caller's without consequence.
        let _ = self.kicks.set(kicks);
    }

    /// Whether this run is over.
    pub(crate) fn is_requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }
}

impl PowerSink for PowerLatch {
    fn request(&self, request: PowerRequest) {
        if self.requested.swap(true, Ordering::SeqCst) {
            return;
        }
        self.outbox.send(Message::Power(request));
        self.kicks.get().into_iter().flatten().for_each(|kick| kick.kick());
    }

    fn host_failure(&self, failure: HostFailure) {
        self.outbox.send(Message::HostFailure(failure));
    }
}
