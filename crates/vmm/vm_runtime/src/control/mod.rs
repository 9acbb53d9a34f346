//! The control socket: JSON over HTTP on a unix socket.
//!
//! | request | answer |
//! |---|---|
//! | `GET /state` | name, phase, engine, size, uptime, resets |
//! | `GET /counters` | exits by kind, device I/O, memory |
//! | `GET /events` | a stream, one JSON object a line, until the VM ends |
//! | `PUT /pause`, `PUT /resume` | done when answered; repeating is no error |
//! | `PUT /power-button` | pressed; the guest decides |
//! | `PUT /reset`, `PUT /stop` | at once, like the switch at the wall |
//!
//! The server has a thread of its own; each request is a message to the driver, which answers in turn.
//! Errors are problem details (RFC 9457).

mod refusals;
mod server;

use serde_json::Value;
use tokio::sync::oneshot;

#[cfg(test)]
pub(crate) use server::CLIENTS_MAX;
pub(crate) use server::ControlServer;

/// What can be asked of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    State,
    Counters,
    Pause,
    Resume,
    PowerButton,
    Reset,
    Stop,
}

/// A verb and where its answer goes.
pub(crate) struct ControlRequest {
    pub(crate) verb: Verb,
    pub(crate) reply: oneshot::Sender<Result<Value, String>>,
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
