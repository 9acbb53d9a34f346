//! Doorbells that follow the region (4.1.4.4, 4.1.5.2).

use std::sync::Arc;

use device_model::{Doorbells, EventFd};
use tracing::debug;

use super::spec::NOTIFY_MULTIPLIER;

/// The engine's doorbells at the notification structure. Where the engine has none, the guest's write
/// arrives at the region and the transport signals the kick.
pub(super) struct NotifyDoorbells {
    doorbells: Arc<dyn Doorbells>,
    attached: Vec<Option<u64>>,
    base: Option<u64>,
}

impl NotifyDoorbells {
    /// None attached.
    pub(super) fn new(doorbells: Arc<dyn Doorbells>) -> NotifyDoorbells {
        NotifyDoorbells { doorbells, attached: Vec::new(), base: None }
    }

    /// Moves the doorbells of `kicks` to guest-physical `base`, or takes them away.
    pub(super) fn place<'a>(
        &mut self,
        base: Option<u64>,
        kicks: impl Iterator<Item = &'a EventFd> + Clone,
        device: &str,
    ) {
        if base == self.base {
            return;
        }
        self.base = base;
        for (queue, (address, kick)) in self.attached.drain(..).zip(kicks.clone()).enumerate() {
            if let Some(Err(error)) = address.map(|address| self.doorbells.detach(address, kick)) {
                debug!(device, queue, %error, "doorbell not detached");
            }
        }
        let Some(base) = base else { return };
        for (queue, kick) in kicks.enumerate() {
            let address = base.checked_add(queue as u64 * u64::from(NOTIFY_MULTIPLIER));
            let attached = address.filter(|address| match self.doorbells.attach(*address, kick) {
                Ok(attached) => attached,
                Err(error) => {
                    debug!(device, queue, %error, "no doorbell: the queue is kicked over the bus");
                    false
                }
            });
            self.attached.push(attached);
        }
    }
}
