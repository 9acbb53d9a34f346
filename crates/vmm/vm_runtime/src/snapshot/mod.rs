//! Snapshots of a machine that runs, and the way back to one.
//!
//! ```text
//! worker's thread                               the driver's
//! plan: disks, room
//! start the log ──────────────────────────────► the engine and devices record what is written
//! copy pages that were ever touched
//! take the log, copy what was written ────────► at most [`ROUNDS`] times
//! freeze ─────────────────────────────────────► pause, flush, save; the rest of RAM, the disks; resume
//! write state, index and record; sync; answer
//!
//! open the snapshot, look at all of it,
//! copy its disks to where the machine's are
//! go back ────────────────────────────────────► tear down; give the copies their names; power on from the state
//! ```
//!
//! The driver does nothing long while the guest runs: it serves requests meanwhile. A machine that is reset or ends before
//! it stands still has no snapshot: what is sent about it is dropped, which the worker sees.

mod boot_files;
mod disks;
mod error;
mod go_back;
mod opened;
mod put_back;
mod record;
mod steps;
mod take;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Weak};

use vm_control::FailureClass;

use crate::control::{Refusal, Reply, ReplySender};
use crate::inbox::Outbox;

pub use error::SnapshotFailure;
pub(crate) use go_back::{GoBack, GoBackJob};
pub(crate) use opened::Opened;
pub(crate) use steps::{MachineHandle, Step, carry_out};
pub(crate) use take::TakeJob;

/// Where the answer to an order goes.
pub(crate) struct Answer {
    reply: ReplySender,
    /// While this is there, others have to wait.
    busy: Arc<()>,
}

impl Answer {
    /// Answers whoever still waits. He may ask for the next thing at once.
    pub(crate) fn send(self, answer: Result<Reply, Refusal>) {
        let Answer { reply, busy } = self;
        drop(busy);
        let _nobody_waits = reply.send(answer);
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.reply.is_closed()
    }
}

/// Why something has to wait.
pub(crate) const BUSY: &str =
    "a snapshot of this VM is being made, or it is going back to one; wait until that is done";

/// The one who makes a snapshot of this VM, or brings it back to one: there is one at a time.
#[derive(Default)]
pub(crate) struct Worker {
    busy: Weak<()>,
}

impl Worker {
    /// Whether there is work: until it is done the machine's devices stay as they are.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.strong_count() > 0
    }

    /// Starts `work` in a thread of its own. What it answers, if anything, is sent when it is done.
    pub(crate) fn start(
        &mut self,
        outbox: Outbox,
        reply: ReplySender,
        work: impl FnOnce(&Outbox, Answer) + Send + 'static,
    ) {
        if self.is_busy() {
            let _ = reply.send(Err(Refusal { class: FailureClass::Busy, why: BUSY.to_owned() }));
            return;
        }
        let busy = Arc::new(());
        self.busy = Arc::downgrade(&busy);
        let answer = Answer { reply, busy };
        let started = host_sys::threads::spawn("snapshot", move || work(&outbox, answer));
        // The answer is dropped with the work, which whoever asked sees.
        if let Err(error) = started {
            tracing::error!(%error, "no thread for a snapshot");
        }
    }
}
