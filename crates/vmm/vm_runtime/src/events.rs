//! What happens to a VM, as told to whoever listens at the control socket.

use std::time::SystemTime;

use serde::Serialize;
use tokio::sync::broadcast;

/// Events that a slow listener may lag behind before it misses some.
const BACKLOG: usize = 64;

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Event {
    /// Milliseconds since 1970-01-01 00:00 UTC.
    pub(crate) time_ms: u64,
    /// What.
    pub(crate) event: &'static str,
    /// Details for a person, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

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
    pub(crate) fn tell(&self, event: &'static str, detail: Option<String>) {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let time_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(event, detail, "event");
        // It is no error that nobody listens.
        let _ = self.sender.send(Event { time_ms, event, detail });
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }
}
