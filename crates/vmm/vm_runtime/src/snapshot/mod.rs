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

use tokio::sync::oneshot;
use vm_control::FailureClass;

use crate::control::{Refusal, Reply};
use crate::inbox::Outbox;

pub use error::SnapshotFailure;
pub(crate) use go_back::{GoBack, GoBackJob};
pub(crate) use opened::Opened;
pub(crate) use steps::{MachineHandle, Step, carry_out};
pub(crate) use take::TakeJob;

/// Where an answer goes.
pub(crate) type Answer = oneshot::Sender<Result<Reply, Refusal>>;

/// The one who makes a snapshot of this VM, or brings it back to one: there is one at a time.
#[derive(Default)]
pub(crate) struct Worker {
    busy: Weak<()>,
}

/// Work is being done. It goes before the answer is given: whoever has that may ask for the next.
pub(crate) struct AtWork(#[expect(dead_code, reason = "held for as long as the work takes")] Arc<()>);

impl Worker {
    /// Starts `work` in a thread of its own. What it answers, if anything, is sent when it is done.
    pub(crate) fn start(
        &mut self,
        outbox: Outbox,
        reply: Answer,
        work: impl FnOnce(&Outbox, Answer, AtWork) + Send + 'static,
    ) {
        if self.busy.strong_count() > 0 {
            let line =
                "a snapshot of this VM is being made, or it is going back to one; wait until that is done";
            let _ = reply.send(Err(Refusal { class: FailureClass::Busy, line: line.to_owned() }));
            return;
        }
        let token = Arc::new(());
        self.busy = Arc::downgrade(&token);
        let at_work = AtWork(token);
        let started = host_sys::threads::spawn("snapshot", move || work(&outbox, reply, at_work));
        // The answer is dropped with the work, which whoever asked sees.
        if let Err(error) = started {
            tracing::error!(%error, "no thread for a snapshot");
        }
    }
}
