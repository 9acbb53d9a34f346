//! What happens to a VM, as told to whoever listens at the control socket.

use std::time::SystemTime;

use tokio::sync::broadcast;
use vm_control::{Event, EventKind};

/// Events that a slow listener may lag behind before it misses some.
const BACKLOG: usize = 64;

/// Where the driver tells.
#[derive(Clone)]
pub(crate) struct Events {
    sender: broadcast::Sender<Event>,
}

impl Default for Events {
    fn default() -> Self {
        Events { sender: broadcast::Sender::new(BACKLOG) }
    }
}

impl Events {
    pub(crate) fn tell(&self, event: EventKind, detail: Option<String>) {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let time_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(?event, detail, "event");
        // It is no error that nobody listens.
        let _ = self.sender.send(Event { time_ms, event, detail });
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }
}
