//! One request and its answer over HTTP on a unix socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use host_sys::unix_socket;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustix::process::{Uid, geteuid};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{sleep, timeout};
use vm_control::{Failure, FailureClass, Method};

use crate::{ClientError, VmClient};

/// Longest answer that is read, in bytes: counters of the largest VM are a hundredth of it.
const LONGEST_ANSWER: usize = 1 << 20;
/// How soon a VM that too many ask at once is asked again.
const QUEUE_CHECK: Duration = Duration::from_millis(10);

/// The body of the answer to a request, where it is not that something failed.
pub(crate) fn answer(vm: &VmClient, method: Method, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
    let socket = &*vm.socket;
    let both = async {
        let response = send(socket, method, path, body).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
        let body = body.map_err(|_| ClientError::Nonsense(socket.to_owned()))?.to_bytes();
        if status.is_success() { Ok(body) } else { Err(refusal(status.as_u16(), &body)) }
    };
    let silent = |_| ClientError::Silent(socket.to_owned());
    runtime(socket)?.block_on(async { timeout(vm.patience, both).await.map_err(silent)? })
}

/// Sends a request; the answer's body follows as it is read.
pub(crate) async fn send(
    socket: &Path,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Response<Incoming>, ClientError> {
    let stream = connect(socket).await.map_err(|error| unreachable_vm(socket, error))?;
    let lost = |error: hyper::Error| connection(socket, io::Error::other(error));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
    // It ends with the answer, whose end or failure the reader of the body sees.
    tokio::spawn(connection);
    let request = Request::builder().method(method.as_str()).uri(path).header("host", "vm");
    let request = request.body(Full::new(body)).map_err(|_| ClientError::Nonsense(socket.to_owned()))?;
    sender.send_request(request).await.map_err(lost)
}

/// Connects, when there is room in the queue of those who wait to be accepted. Who answers must be this user, or root: in a
/// folder that others can write to, anybody may have put a socket.
async fn connect(socket: &Path) -> io::Result<UnixStream> {
    loop {
        match unix_socket::connect(socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(QUEUE_CHECK).await,
            Err(error) => return Err(error),
            Ok(stream) => {
                let stream = UnixStream::from_std(stream)?;
                let (answers, user) = (stream.peer_cred()?.uid(), geteuid());
                let is_trusted = user.is_root() || [user, Uid::ROOT].map(Uid::as_raw).contains(&answers);
                return if is_trusted { Ok(stream) } else { Err(io::ErrorKind::PermissionDenied.into()) };
            }
        }
    }
}

pub(crate) fn runtime(socket: &Path) -> Result<Runtime, ClientError> {
    Builder::new_current_thread().enable_all().build().map_err(|source| connection(socket, source))
}

fn connection(socket: &Path, source: io::Error) -> ClientError {
    ClientError::Connection { path: socket.to_owned(), source }
}

fn unreachable_vm(socket: &Path, error: io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::NotFound => ClientError::NotRunning(socket.to_owned()),
        io::ErrorKind::ConnectionRefused => ClientError::Gone(socket.to_owned()),
        io::ErrorKind::PermissionDenied => ClientError::Denied(socket.to_owned()),
        _ => connection(socket, error),
    }
}

/// What a VM said no with; where it is not in the protocol's words, at least its status.
fn refusal(status: u16, body: &[u8]) -> ClientError {
    ClientError::Refused(serde_json::from_slice(body).unwrap_or_else(|_| Failure {
        status,
        title: String::new(),
        detail: format!("the VM refused (status {status})"),
        class: FailureClass::Host,
    }))
}
