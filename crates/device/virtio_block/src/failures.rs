//! Requests that the host could not carry out: who is told, and whether they are tried again.
//!
//! ```text
//! failed ─┬─ OnError::Report, or no use in trying again ─► the guest gets an error ─► Told, once a kind
//!         └─ OnError::Hold ─► held ─► Held ─► the machine is paused ── resumed ─► tried again
//! ```

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use device_model::{Consequence, HostFailure, PowerSink};
use disk::{Disk, DiskOperation, Trouble};
use tracing::debug;

use crate::counters::BlockCounters;

/// What is done with a request that the host cannot carry out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// The guest gets an error.
    #[default]
    Report,
    /// It waits until the machine has been paused and resumed, and is tried again then. The guest sees nothing.
    Hold,
}

/// Whom a device tells of failures.
#[derive(Clone)]
pub(crate) struct Listener {
    /// The device's id.
    pub(crate) device: String,
    pub(crate) machine: Arc<dyn PowerSink>,
}

/// What all queues of a device do about failures.
#[derive(Clone, Default)]
pub(crate) struct Failures {
    on_error: OnError,
    listener: Option<Listener>,
    /// Kinds of trouble that were told of already: a dying disk must not fill anybody's log.
    told: Arc<Mutex<BTreeSet<Trouble>>>,
}

impl Failures {
    /// What is done about them, and who is told.
    pub(crate) fn new(on_error: OnError, listener: Listener) -> Failures {
        Failures { on_error, listener: Some(listener), told: Arc::default() }
    }

    /// A request has failed; whether it is to be held.
    pub(crate) fn holds(
        &self,
        operation: DiskOperation,
        error: &io::Error,
        held_before: bool,
        counters: &BlockCounters,
    ) -> bool {
        let trouble = Trouble::of(error);
        debug!(?operation, ?trouble, %error, "disk request failed");
        let holds = self.on_error == OnError::Hold && trouble.can_pass();
        if holds {
            counters.count_held();
            // The machine is asked to pause once, with the first.
            if !held_before {
                self.tell(trouble, Some(error), Consequence::Held);
            }
        } else {
            counters.count_failed();
            self.tell_once(trouble, Some(error));
        }
        holds
    }

    /// Looks for what no request shows.
    pub(crate) fn look_after(&self, disk: &dyn Disk) {
        if let Some(trouble) = disk.trouble() {
            self.tell_once(trouble, None);
        }
    }

    fn tell_once(&self, trouble: Trouble, error: Option<&io::Error>) {
        let is_new = self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(trouble);
        if is_new {
            self.tell(trouble, error, Consequence::Told);
        }
    }

    fn tell(&self, trouble: Trouble, error: Option<&io::Error>, consequence: Consequence) {
        let Some(Listener { device, machine }) = &self.listener else { return };
        // The kernel's words say more only where there are none of ours.
        let detail = match (trouble, error) {
            (Trouble::Other | Trouble::NoMeans, Some(error)) => format!(" ({error})"),
            _ => String::new(),
        };
        let what = format!("{}{detail}", trouble.in_words());
        machine.host_failure(HostFailure { device: device.clone(), what, consequence });
    }
}
