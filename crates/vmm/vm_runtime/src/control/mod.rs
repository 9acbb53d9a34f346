//! The control sockets: JSON over HTTP on unix sockets.
//!
//! ```text
//!              a client connects
//! Listening ──────────────────────► Serving (a thread with an event loop)
//!     ▲                                │
//!     └────────────────────────────────┘ nobody has asked for a while
//! ```
//!
//! What can be asked, and the answers, are [`vm_control`]'s. Each request is a message to the driver, which answers in
//! turn. A VM that nobody speaks to has no thread and no event loop for that: the driver watches the sockets.

mod refusals;
mod serve;
mod server;
mod socket;
mod wanted;

use serde::Serialize;
use tokio::sync::oneshot;
use vm_control::{Attached, Counters, FailureClass, SnapshotTaken, Status};

#[cfg(test)]
pub(crate) use serve::CLIENTS_MAX;
pub(crate) use server::ControlServer;
pub use socket::ControlSocket;
pub(crate) use wanted::Wanted;

/// What the driver answers.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Reply {
    Status(Status),
    Counters(Counters),
    Snapshot(SnapshotTaken),
    Attached(Attached),
    Done {},
}

/// What is wanted, and where the answer to it goes.
pub(crate) struct ControlRequest {
    pub(crate) wanted: Wanted,
    pub(crate) reply: ReplySender,
}

/// Where the answer to a request goes. Whoever asked may not wait for it any more.
pub(crate) type ReplySender = oneshot::Sender<Result<Reply, Refusal>>;

/// Why it cannot be done.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// What kind of failure it is.
    pub(crate) class: FailureClass,
    /// For a person, in one line.
    pub(crate) why: String,
}

impl Refusal {
    /// The host's doing, or the engine's; never the client's.
    pub(crate) fn host(error: &(dyn std::error::Error + 'static)) -> Refusal {
        Refusal { class: FailureClass::Host, why: messages::in_words(error) }
    }
}

/// A control socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The path cannot be listened on.
    #[error("cannot listen on control socket {path}")]
    Listen {
        /// The path as given.
        path: String,
        /// Why.
        source: host_sys::unix_socket::ListenError,
    },
    /// There is no folder for the sockets of running VMs, and none can be made.
    #[error("cannot use the folder for running VMs, {path}")]
    RunFolder {
        /// The folder.
        path: String,
        /// The kernel's answer.
        source: std::io::Error,
    },
}
