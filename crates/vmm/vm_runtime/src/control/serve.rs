//! HTTP on unix sockets: accept, parse, route, answer.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Either, Full, Limited};
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
use vm_control::{EVENTS_PATH, Event, EventKind, Failure, FailureClass, Misdirected, Verb};

use super::refusals::Refusals;
use super::wanted::BODY_BYTES_MAX;
use super::{ControlRequest, Wanted};
use crate::events::Events;
use crate::inbox::{Message, Outbox};

/// Longest path that an answer repeats, in bytes.
const PATH_BYTES_MAX: usize = 200;

/// Clients that are served at a time. More wait in the sockets' queues until one of these goes.
pub(crate) const CLIENTS_MAX: usize = 64;

/// How long nobody asks before the server ends. Tests wait for it.
const IDLE: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 5000 });

/// Serves clients until the VM ends, and then gives those answers that are on their way; or until nobody asks any more:
/// then the listeners are the driver's again.
pub(super) async fn serve(
    listeners: Vec<std::os::unix::net::UnixListener>,
    outbox: &Outbox,
    events: &Events,
    mut ending: watch::Receiver<bool>,
) -> io::Result<Vec<std::os::unix::net::UnixListener>> {
    let mut clients = JoinSet::new();
    let mut refusals = Refusals::default();
    let listeners = listeners.into_iter().map(UnixListener::from_std).collect::<io::Result<Vec<_>>>()?;
    loop {
        let accepted = tokio::select! {
            accepted = next_client(&listeners), if clients.len() < CLIENTS_MAX => accepted,
            Some(_ended) = clients.join_next() => continue,
            _ = ending.changed() => break,
            () = tokio::time::sleep(IDLE), if clients.is_empty() => break,
        };
        match accepted {
            Ok(stream) => {
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
    listeners.into_iter().map(UnixListener::into_std).collect()
}

/// The next client of any of the sockets.
async fn next_client(listeners: &[UnixListener]) -> io::Result<UnixStream> {
    poll_fn(|context| {
        for listener in listeners {
            if let Poll::Ready(accepted) = listener.poll_accept(context) {
                return Poll::Ready(accepted.map(|(stream, _)| stream));
            }
        }
        Poll::Pending
    })
    .await
}

async fn converse(stream: UnixStream, outbox: Outbox, events: Events, mut ending: watch::Receiver<bool>) {
    let (outbox, events) = (&outbox, &events);
    let service =
        service_fn(move |request| async move { Ok::<_, Infallible>(answer(request, outbox, events).await) });
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

async fn answer(request: Request<Incoming>, outbox: &Outbox, events: &Events) -> Answer {
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
    let wanted = match read(verb, request.into_body()).await {
        Ok(wanted) => wanted,
        Err(why) => return problem(StatusCode::BAD_REQUEST, FailureClass::Invalid, &why),
    };
    let (reply, received) = oneshot::channel();
    outbox.send(Message::Control(ControlRequest { wanted, reply }));
    match received.await {
        Ok(Ok(reply)) => respond(StatusCode::OK, "application/json", &reply),
        Ok(Err(refusal)) => problem(status_of(refusal.class), refusal.class, &refusal.why),
        Err(_) => problem(StatusCode::SERVICE_UNAVAILABLE, FailureClass::Busy, "the VM is ending"),
    }
}

/// What is wanted by a verb and, where it has one, the body of its request.
async fn read(verb: Verb, body: Incoming) -> Result<Wanted, String> {
    if !verb.has_body() {
        return Wanted::of(verb, &[]);
    }
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let body = body.map_err(|_| "the request's body is too long, or ends too early".to_owned())?;
    Wanted::of(verb, &body.to_bytes())
}

/// The status of a VM that lives and refuses.
fn status_of(class: FailureClass) -> StatusCode {
    match class {
        FailureClass::NotFound => StatusCode::NOT_FOUND,
        FailureClass::Invalid => StatusCode::BAD_REQUEST,
        FailureClass::Busy | FailureClass::Exists => StatusCode::CONFLICT,
        FailureClass::Host => StatusCode::INTERNAL_SERVER_ERROR,
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
type NextEventFuture = Pin<Box<dyn Future<Output = NextEvent> + Send + Sync>>;

/// A response body that grows with each event.
struct EventStream {
    next: Option<NextEventFuture>,
}

impl EventStream {
    fn new(receiver: broadcast::Receiver<Event>) -> EventStream {
        EventStream { next: Some(Box::pin(next_event(receiver))) }
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
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        let (event, receiver) = ready!(next.as_mut().poll(context));
        // Behind the end of the VM nothing comes.
        let is_over = event.as_ref().is_none_or(|event| event.event == EventKind::Ended);
        self.next = (!is_over).then(|| Box::pin(next_event(receiver)) as NextEventFuture);
        Poll::Ready(event.map(|event| {
            let mut line = serde_json::to_vec(&event)?;
            line.push(b'\n');
            Ok(Frame::data(line.into()))
        }))
    }
}
