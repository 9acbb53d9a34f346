//! Going back to a snapshot: all that can be wrong is found while the machine runs on.

use std::path::Path;

use messages::in_words;
use vm_control::RestoreOrder;
use vm_spec::VmSpec;
use vm_spec::blueprint::BackendFacts;

use super::put_back::PutBack;
use super::{Answer, AtWork, Opened, SnapshotFailure};
use crate::control::Refusal;
use crate::inbox::{Message, Outbox};

/// What is to be seen to before a machine goes back.
pub(crate) struct GoBackJob {
    pub(crate) order: RestoreOrder,
    pub(crate) spec: VmSpec,
    /// What is behind its devices.
    pub(crate) backends: BackendFacts,
}

/// Everything that is needed to go back.
pub(crate) struct GoBack {
    pub(crate) opened: Opened,
    pub(crate) disks: PutBack,
    pub(crate) reply: Answer,
}

impl GoBackJob {
    /// Gets everything ready and tells the driver, or answers why not.
    pub(crate) fn run(&self, outbox: &Outbox, reply: Answer, at_work: AtWork) {
        let prepared = self.prepare();
        drop(at_work);
        match prepared {
            Ok((opened, disks)) => outbox.send(Message::GoBack(Box::new(GoBack { opened, disks, reply }))),
            Err(error) => {
                // Whoever asked may be gone.
                let _ = reply.send(Err(Refusal::host(in_words(&error))));
            }
        }
    }

    fn prepare(&self) -> Result<(Opened, PutBack), SnapshotFailure> {
        let opened = Opened::open(Path::new(&self.order.folder))?;
        opened.state.blueprint.check_fit(&self.backends)?;
        opened.verify()?;
        let disks = PutBack::prepare(&opened.snapshot, &self.spec)?;
        Ok((opened, disks))
    }
}
