//! Control sockets between their opening and their end, whether somebody serves them or not.

use std::convert::Infallible;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use host_sys::poll::{Poller, Token};
use host_sys::unix_socket::SocketFile;
use tokio::sync::watch;

use super::ControlSocket;
use super::refusals::Refusals;
use super::serve::serve;
use crate::events::Events;
use crate::inbox::{Message, Outbox};

/// How long the end of a VM waits for answers on their way, at most: a client that listens for events, or reads
/// nothing, is left.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

/// The control sockets of a VM. Their files go when this is dropped, and answers that are on their way are given.
pub(crate) struct ControlServer {
    files: Vec<SocketFile>,
    state: State,
    outbox: Outbox,
    events: Events,
}

enum State {
    /// The driver watches the sockets, unless it is to try again later.
    Listening(Vec<UnixListener>, Refusals, Option<Instant>),
    /// A thread has them.
    Serving(Serving),
}

/// The server's thread.
struct Serving {
    ending: watch::Sender<bool>,
    /// Nothing is ever sent: the thread drops its end when it is done.
    done: mpsc::Receiver<Infallible>,
}

impl ControlServer {
    /// Nobody serves the sockets yet.
    pub(crate) fn new(sockets: Vec<ControlSocket>, outbox: Outbox, events: Events) -> ControlServer {
        let (files, listeners) = sockets.into_iter().map(|socket| (socket.file, socket.listener)).unzip();
        ControlServer { files, state: State::Listening(listeners, Refusals::default(), None), outbox, events }
    }

    /// Has `poller` say `token` when a client comes.
    ///
    /// # Errors
    /// The host refuses.
    pub(crate) fn watch(&self, poller: &Poller, token: Token) -> io::Result<()> {
        let State::Listening(listeners, ..) = &self.state else { return Ok(()) };
        listeners.iter().try_for_each(|listener| poller.watch(listener.as_fd(), token))
    }

    fn unwatch(&self, poller: &Poller) {
        let State::Listening(listeners, ..) = &self.state else { return };
        for listener in listeners {
            // What is not watched is what is wanted.
            let _ = poller.unwatch(listener.as_fd());
        }
    }

    /// Starts serving, as a client has come. Where the host has no thread or descriptors for that, the client waits, and
    /// [`try_again`](ControlServer::try_again) is to be called.
    pub(crate) fn serve(&mut self, poller: &Poller) {
        self.unwatch(poller);
        let State::Listening(listeners, refusals, again) = &mut self.state else { return };
        match start(&self.outbox, &self.events) {
            Ok((serving, thread)) => {
                // The thread waits for them.
                let _ = thread.send(std::mem::take(listeners));
                self.state = State::Serving(serving);
            }
            Err(error) => {
                let now = Instant::now();
                let (wait, told) = refusals.count(now);
                *again = Some(now + wait);
                if let Some(times) = told {
                    tracing::error!(%error, times, "clients of the control socket have to wait");
                }
            }
        }
    }

    /// How long to wait before [`try_again`](ControlServer::try_again), where serving could not be started.
    pub(crate) fn wait(&self) -> Option<Duration> {
        match &self.state {
            State::Listening(.., Some(again)) => Some(again.saturating_duration_since(Instant::now())),
            _ => None,
        }
    }

    /// Starts serving, if that failed and it is time.
    pub(crate) fn try_again(&mut self, poller: &Poller) {
        if self.wait().is_some_and(|wait| wait.is_zero()) {
            self.serve(poller);
        }
    }

    /// The server's thread has ended, as nobody asks any more: the sockets are watched again.
    ///
    /// # Errors
    /// The host refuses.
    pub(crate) fn listen(
        &mut self,
        listeners: Vec<UnixListener>,
        poller: &Poller,
        token: Token,
    ) -> io::Result<()> {
        self.state = State::Listening(listeners, Refusals::default(), None);
        self.watch(poller, token)
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        // While they are still listened on: a socket that nobody listens on is anybody's.
        self.files.clear();
        if let State::Serving(Serving { ending, done }) = &self.state {
            ending.send_replace(true);
            // The thread's end, or a client that is left.
            let _either = done.recv_timeout(LAST_ANSWERS);
        }
    }
}

/// A thread that serves the listeners that it is sent.
fn start(outbox: &Outbox, events: &Events) -> io::Result<(Serving, mpsc::Sender<Vec<UnixListener>>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let (ending, told) = watch::channel(false);
    let (alive, done) = mpsc::channel();
    let (sender, listeners) = mpsc::channel();
    let (outbox, events) = (outbox.clone(), events.clone());
    host_sys::threads::spawn("control", move || {
        let Ok(listeners) = listeners.recv() else { return };
        match runtime.block_on(serve(listeners, &outbox, &events, told)) {
            Ok(listeners) => outbox.send(Message::Unasked(listeners)),
            Err(error) => tracing::error!(%error, "control socket lost"),
        }
        drop(alive);
    })?;
    Ok((Serving { ending, done }, sender))
}
