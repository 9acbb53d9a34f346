//! Speaks to the process of a VM at its control socket, in the words of [`vm_control`].
//!
//! Everything blocks, and everything but [`VmClient::events`] ends: a VM that does not answer is said to be silent after
//! [`PATIENCE`], or [what it was given](VmClient::with_patience). What a VM's process says is believed no further than
//! its form goes: it may have been taken over by its guest, so answers are bounded.

mod events;
mod exchange;
mod run_folder;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use host_sys::unix_socket;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use vm_control::{
    AttachDevice, Attached, Counters, DetachDevice, Failure, FailureClass, ResizeDisk, RestoreOrder,
    SnapshotOrder, SnapshotTaken, Status, Verb,
};

pub use events::{Next, VmEvents};
pub use run_folder::RunFolder;

/// How long an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The same where something large is written: a bound, and no time that anything is expected to take.
const LONG_WORK: Duration = Duration::from_secs(24 * 3600);

/// Why a VM was not asked, or did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing is there.
    #[error("no VM answers at {0}")]
    NotRunning(PathBuf),
    /// There is a socket, and its process is gone without having taken it away.
    #[error("the process of the VM at {0} is gone: it was killed")]
    Gone(PathBuf),
    /// The socket is another user's.
    #[error("{0} belongs to a VM of another user; ask as that user or as root")]
    Denied(PathBuf),
    /// The connection failed.
    #[error("cannot speak to the VM at {path}")]
    Connection {
        /// The socket.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It did not answer in time.
    #[error("the VM at {0} does not answer")]
    Silent(PathBuf),
    /// It answered something that no version of the protocol has.
    #[error("what answers at {0} is no VM that this version of yagura can speak to")]
    Nonsense(PathBuf),
    /// It said no.
    #[error("{0}")]
    Refused(Failure),
}

impl ClientError {
    /// What kind of failure it is.
    pub fn class(&self) -> FailureClass {
        match self {
            ClientError::NotRunning(_) | ClientError::Gone(_) => FailureClass::NotFound,
            ClientError::Silent(_) => FailureClass::Busy,
            ClientError::Refused(failure) => failure.class,
            ClientError::Denied(_) | ClientError::Connection { .. } | ClientError::Nonsense(_) => {
                FailureClass::Host
            }
        }
    }
}

/// The control socket of one VM.
#[derive(Clone, Debug)]
pub struct VmClient {
    socket: PathBuf,
    patience: Duration,
}

impl VmClient {
    /// A client for the VM that listens at `socket`. Nothing is opened yet.
    pub fn new(socket: &Path) -> VmClient {
        VmClient { socket: socket.to_owned(), patience: PATIENCE }
    }

    /// The same, for which an answer may take so long.
    pub fn with_patience(self, patience: Duration) -> VmClient {
        VmClient { patience, ..self }
    }

    /// Whether somebody listens at the socket. A VM is not disturbed by the question, and need not answer.
    ///
    /// # Errors
    /// No socket can have such a name.
    pub fn is_listening(&self) -> io::Result<bool> {
        unix_socket::is_listened_at(&self.socket)
    }

    /// How the VM is.
    pub fn status(&self) -> Result<Status, ClientError> {
        self.read(Verb::Status)
    }

    /// What it has done.
    pub fn counters(&self) -> Result<Counters, ClientError> {
        self.read(Verb::Counters)
    }

    /// Asks for something whose answer is that it is done.
    pub fn ask(&self, verb: Verb) -> Result<(), ClientError> {
        exchange::answer(self, verb, Vec::new()).map(drop)
    }

    /// Makes a disk longer.
    pub fn resize_disk(&self, wanted: &ResizeDisk) -> Result<(), ClientError> {
        self.order::<IgnoredAny>(Verb::ResizeDisk, wanted).map(drop)
    }

    /// Has a snapshot written. It takes as long as it takes: the VM's end is noticed.
    pub fn snapshot(&self, order: &SnapshotOrder) -> Result<SnapshotTaken, ClientError> {
        self.patient().order(Verb::Snapshot, order)
    }

    /// Has the machine go back to a snapshot. It takes as long as it takes: the VM's end is noticed.
    pub fn restore(&self, order: &RestoreOrder) -> Result<(), ClientError> {
        self.patient().order::<IgnoredAny>(Verb::Restore, order).map(drop)
    }

    /// Puts a disk or card in; what it is called then.
    pub fn attach(&self, device: &AttachDevice) -> Result<Attached, ClientError> {
        self.order(Verb::Attach, device)
    }

    /// Takes a disk or card out: returns when the guest has let go of it. The VM may take the time that the guest has,
    /// besides what an answer may take.
    pub fn detach(&self, wanted: &DetachDevice) -> Result<(), ClientError> {
        let guest = if wanted.force { Duration::ZERO } else { Duration::from_millis(wanted.timeout_ms) };
        let patient = self.clone().with_patience(self.patience.saturating_add(guest));
        patient.order::<IgnoredAny>(Verb::Detach, wanted).map(drop)
    }

    /// Listens to what happens to the VM from now on.
    pub fn events(&self) -> Result<VmEvents, ClientError> {
        VmEvents::listen(self)
    }

    fn read<T: DeserializeOwned>(&self, verb: Verb) -> Result<T, ClientError> {
        self.understood(&exchange::answer(self, verb, Vec::new())?)
    }

    fn patient(&self) -> VmClient {
        self.clone().with_patience(LONG_WORK)
    }

    fn order<T: DeserializeOwned>(&self, verb: Verb, order: &impl Serialize) -> Result<T, ClientError> {
        let body = serde_json::to_vec(order).map_err(|_| ClientError::Nonsense(self.socket.clone()))?;
        self.understood(&exchange::answer(self, verb, body)?)
    }

    fn understood<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|_| ClientError::Nonsense(self.socket.clone()))
    }
}
