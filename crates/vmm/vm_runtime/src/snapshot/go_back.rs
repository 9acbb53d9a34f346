//! Going back to a snapshot: all that can be wrong is found while the machine runs on.

use std::path::Path;

use vm_control::RestoreOrder;
use vm_spec::blueprint::BackendFacts;
use vm_spec::{DeviceId, VmSpec};

use super::put_back::PutBack;
use super::{Answer, Opened, SnapshotFailure};
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
    pub(crate) fn run(&self, outbox: &Outbox, reply: Answer) {
        match self.prepare() {
            Ok((opened, disks)) => outbox.send(Message::GoBack(Box::new(GoBack { opened, disks, reply }))),
            Err(error) => {
                reply.send(Err(Refusal::host(&error)));
            }
        }
    }

    fn prepare(&self) -> Result<(Opened, PutBack), SnapshotFailure> {
        let opened = Opened::verify(Path::new(&self.order.folder))?;
        opened.state.blueprint.check_fit(&self.backends)?;
        let is_extra = |id: &DeviceId| opened.state.blueprint.device(id).is_none();
        if let Some(id) = [self.spec.disk_ids(), self.spec.nic_ids()].concat().into_iter().find(is_extra) {
            return Err(SnapshotFailure::Extra(id));
        }
        let disks = PutBack::prepare(&opened.snapshot, &self.spec)?;
        Ok((opened, disks))
    }
}
