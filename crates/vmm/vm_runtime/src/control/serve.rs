//! HTTP on the unix socket: parse, route, answer.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::mpsc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use host_sys::unix_socket::{self, SocketFile};
use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use messages::shortened;
use serde::Serialize;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast, oneshot, watch};
use tokio::task::JoinSet;
use vm_control::{EVENTS_PATH, Event, Failure, FailureClass, Misdirected, Verb};

use super::refusals::Refusals;
use super::{ControlError, ControlRequest};
use crate::events::Events;
use crate::inbox::{Message, Outbox};

/// How long the end of a VM waits for answers on their way, at most: a client that listens for events, or reads
/// nothing, is left.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

/// Longest path that an answer repeats, in bytes.
const PATH_BYTES_MAX: usize = 200;

/// Clients that are served at a time. More wait in the socket's queue until one of these goes.
pub(crate) const CLIENTS_MAX: usize = 64;

/// The socket's file goes when this is dropped, and answers that are on their way are given.
pub(crate) struct ControlServer {
    _file: SocketFile,
    ending: watch::Sender<bool>,
    /// Nothing is ever sent: the thread drops its end when it is done.
    done: mpsc::Receiver<Infallible>,
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.ending.send_replace(true);
        // The thread's end, or a client that is left.
        let _either = self.done.recv_timeout(LAST_ANSWERS);
    }
}

impl ControlServer {
    /// Listens at `path`, which only this user may open.
    pub(crate) fn start(path: &Path, outbox: Outbox, events: Events) -> Result<ControlServer, ControlError> {
        let shown = || path.display().to_string();
        let (listener, file) =
            unix_socket::listen(path).map_err(|source| ControlError::Listen { path: shown(), source })?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .map_err(ControlError::Start)?;
        let (ending, told) = watch::channel(false);
        let (alive, done) = mpsc::channel();
        let serve = move || {
            runtime.block_on(accept(listener, &outbox, &events, told));
            drop(alive);
        };
        host_sys::threads::spawn("control", serve).map_err(ControlError::Start)?;
        Ok(ControlServer { _file: file, ending, done })
    }
}

/// Serves clients until the VM ends, and then those answers that are on their way.
async fn accept(
    listener: std::os::unix::net::UnixListener,
    outbox: &Outbox,
    events: &Events,
    mut ending: watch::Receiver<bool>,
) {
    let mut clients = JoinSet::new();
    let mut refusals = Refusals::default();
    let listener = match UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "control socket lost"),
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept(), if clients.len() < CLIENTS_MAX => accepted,
            Some(_ended) = clients.join_next() => continue,
            _ = ending.changed() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                refusals.end();
                clients.spawn(converse(stream, outbox.clone(), events.clone(), ending.clone()));
            }
            // Out of descriptors or memory: those that are being served will free some.
            Err(error) => {
                let (wait, told) = refusals.count(Instant::now());
                if let Some(times) = told {
                    tracing::error!(%error, times, "clients of the control socket have to wait");
                }
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    _ = ending.changed() => break,
                }
            }
        }
    }
    while clients.join_next().await.is_some() {}
}

async fn converse(stream: UnixStream, outbox: Outbox, events: Events, mut ending: watch::Receiver<bool>) {
    let (outbox, events) = (&outbox, &events);
    let service =
        service_fn(move |request| async move { Ok::<_, Infallible>(answer(&request, outbox, events).await) });
    // A client that speaks no HTTP or goes away early is its own loss.
    let mut connection = pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = ending.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "control client went away");
    }
}

type Answer = Response<Either<Full<Bytes>, EventStream>>;

async fn answer(request: &Request<Incoming>, outbox: &Outbox, events: &Events) -> Answer {
    let (method, path) = (request.method().as_str(), request.uri().path());
    if (method, path) == (vm_control::Method::Get.as_str(), EVENTS_PATH) {
        return stream(events);
    }
    let verb = match Verb::of(method, path) {
        Ok(verb) => verb,
        Err(Misdirected::Use(method)) => return wrong_method(method),
        Err(Misdirected::NoSuchPath) if path == EVENTS_PATH => return wrong_method(vm_control::Method::Get),
        Err(Misdirected::NoSuchPath) => {
            let why = format!("there is no {}", shortened(path, PATH_BYTES_MAX));
            return problem(StatusCode::NOT_FOUND, FailureClass::NotFound, &why);
        }
    };
    let (reply, received) = oneshot::channel();
    outbox.send(Message::Control(ControlRequest { verb, reply }));
    match received.await {
        Ok(Ok(reply)) => respond(StatusCode::OK, "application/json", &reply),
        Ok(Err(detail)) => problem(StatusCode::CONFLICT, FailureClass::Host, &detail),
        Err(_) => problem(StatusCode::SERVICE_UNAVAILABLE, FailureClass::Busy, "the VM is ending"),
    }
}

fn wrong_method(right: vm_control::Method) -> Answer {
    let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, FailureClass::Invalid, &format!("use {right}"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(right.as_str()));
    answer
}

fn problem(status: StatusCode, class: FailureClass, detail: &str) -> Answer {
    let title = status.canonical_reason().unwrap_or_default().to_owned();
    let failure = Failure { status: status.as_u16(), title, detail: detail.to_owned(), class };
    respond(status, "application/problem+json", &failure)
}

fn respond(status: StatusCode, content_type: &'static str, body: &impl Serialize) -> Answer {
    // Words and numbers only: nothing in them that JSON does not have.
    let mut text = serde_json::to_string(body).unwrap_or_default();
    text.push('\n');
    let mut answer = Response::new(Either::Left(Full::from(text)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

fn stream(events: &Events) -> Answer {
    let mut answer = Response::new(Either::Right(EventStream::new(events.listen())));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    answer
}

type NextEvent = (Option<Event>, broadcast::Receiver<Event>);

/// A response body that grows with each event.
struct EventStream {
    next: Pin<Box<dyn Future<Output = NextEvent> + Send + Sync>>,
}

impl EventStream {
    fn new(receiver: broadcast::Receiver<Event>) -> EventStream {
        EventStream { next: Box::pin(next_event(receiver)) }
    }
}

async fn next_event(mut receiver: broadcast::Receiver<Event>) -> NextEvent {
    loop {
        match receiver.recv().await {
            Ok(event) => return (Some(event), receiver),
            // A listener that was too slow goes on with what is still there.
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return (None, receiver),
        }
    }
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let (event, receiver) = ready!(self.next.as_mut().poll(context));
        self.next = Box::pin(next_event(receiver));
        Poll::Ready(event.map(|event| {
            let mut line = serde_json::to_vec(&event)?;
            line.push(b'\n');
            Ok(Frame::data(line.into()))
        }))
    }
}
