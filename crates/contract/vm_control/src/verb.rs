//! What can be asked of a VM, and by which request.

use std::fmt;

/// The stream of events: no [`Verb`], as its answer does not end.
pub const EVENTS_PATH: &str = "/events";

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// How it is.
    Status,
    /// What it has done.
    Counters,
    /// Stand still.
    Pause,
    /// Go on.
    Resume,
    /// Press the power button: the guest decides what comes of it.
    PowerButton,
    /// Reset the machine at once.
    Reset,
    /// End at once, as if the power went.
    Stop,
    /// Make a disk longer. The request has a body, a [`ResizeDisk`](crate::ResizeDisk).
    ResizeDisk,
    /// Write a snapshot: a [`SnapshotOrder`](crate::SnapshotOrder).
    Snapshot,
    /// Go back to a snapshot: a [`RestoreOrder`](crate::RestoreOrder).
    Restore,
    /// Put a disk or card in. The request has a body, an [`AttachDevice`](crate::AttachDevice).
    Attach,
    /// Take a disk or card out. The request has a body, a [`DetachDevice`](crate::DetachDevice); it is answered when the
    /// guest has let go of the device, or its time is over.
    Detach,
}

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Changes nothing.
    Get,
    /// Can be repeated without harm.
    Put,
}

impl Method {
    /// As HTTP spells it (RFC 9110, 9.1).
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Put => "PUT",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A request that is no verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misdirected {
    /// Nothing is at this path.
    NoSuchPath,
    /// The path takes this method only.
    Use(Method),
}

impl Verb {
    /// All verbs.
    pub const ALL: [Verb; 12] = [
        Verb::Status,
        Verb::Counters,
        Verb::Pause,
        Verb::Resume,
        Verb::PowerButton,
        Verb::Reset,
        Verb::Stop,
        Verb::ResizeDisk,
        Verb::Snapshot,
        Verb::Restore,
        Verb::Attach,
        Verb::Detach,
    ];

    /// Where it is asked for.
    pub fn path(self) -> &'static str {
        match self {
            Verb::Status => "/state",
            Verb::Counters => "/counters",
            Verb::Pause => "/pause",
            Verb::Resume => "/resume",
            Verb::PowerButton => "/power-button",
            Verb::Reset => "/reset",
            Verb::Stop => "/stop",
            Verb::ResizeDisk => "/resize-disk",
            Verb::Snapshot => "/snapshot",
            Verb::Restore => "/restore",
            Verb::Attach => "/attach",
            Verb::Detach => "/detach",
        }
    }

    /// How it is asked for.
    pub fn method(self) -> Method {
        match self {
            Verb::Status | Verb::Counters => Method::Get,
            Verb::Pause
            | Verb::Resume
            | Verb::PowerButton
            | Verb::Reset
            | Verb::Stop
            | Verb::ResizeDisk
            | Verb::Snapshot
            | Verb::Restore
            | Verb::Attach
            | Verb::Detach => Method::Put,
        }
    }

    /// Whether the request has a body: what exactly is wanted.
    pub fn has_body(self) -> bool {
        matches!(self, Verb::ResizeDisk | Verb::Snapshot | Verb::Restore | Verb::Attach | Verb::Detach)
    }

    /// What a request asks for.
    pub fn of(method: &str, path: &str) -> Result<Verb, Misdirected> {
        let verb = Verb::ALL.into_iter().find(|verb| verb.path() == path).ok_or(Misdirected::NoSuchPath)?;
        if verb.method().as_str() == method { Ok(verb) } else { Err(Misdirected::Use(verb.method())) }
    }
}
