//! The control socket: JSON over HTTP on a unix socket.
//!
//! What can be asked, and the answers, are [`vm_control`]'s.
//!
//! The server has a thread of its own; each request is a message to the driver, which answers in turn.

mod refusals;
mod server;

use serde::Serialize;
use tokio::sync::oneshot;
use vm_control::{Counters, Status, Verb};

#[cfg(test)]
pub(crate) use server::CLIENTS_MAX;
pub(crate) use server::ControlServer;

/// What the driver answers.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Reply {
    Status(Status),
    Counters(Counters),
    Done {},
}

/// A verb and where its answer goes.
pub(crate) struct ControlRequest {
    pub(crate) verb: Verb,
    pub(crate) reply: oneshot::Sender<Result<Reply, String>>,
}

/// The control socket could not be opened.
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
    /// The server's thread or its event loop could not be started.
    #[error("cannot start the control socket's thread")]
    Start(#[source] std::io::Error),
}
