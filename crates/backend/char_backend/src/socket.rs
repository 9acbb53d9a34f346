//! A console that people connect to.
//!
//! ```text
//! Listening ──client──► Connected ──hang-up──► Listening
//!                          │  ▲
//!                          └──┘ another client takes the place of the first
//! ```

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use host_sys::unix_socket::{ListenError, SocketFile, listen};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use tracing::debug;

use crate::{CharBackend, CharError};

/// How much of what the guest said last is kept for the next client, in bytes.
pub const SCROLL_BACK_BYTES: usize = 64 * 1024;

/// A unix socket that serves one client at a time; a new client takes the place of the one before.
///
/// Each client is first given the last 64 KiB of what was said before, so nothing is lost that was said
/// before it came. A client that falls behind by more loses the oldest bytes; writers never wait. The socket
/// can be connected to by this user alone, and its file is removed in the end.
pub struct SocketServer {
    #[cfg_attr(not(test), expect(dead_code, reason = "removes the socket's file when it goes"))]
    file: SocketFile,
    epoll: OwnedFd,
    listener: UnixListener,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    scroll_back: VecDeque<u8>,
    /// Bytes said so far; the last of `scroll_back` is the last of them.
    said_bytes: u64,
    client: Option<Client>,
}

struct Client {
    stream: UnixStream,
    /// Of the bytes said, how many it was sent or has lost.
    sent_bytes: u64,
    /// The descriptor set also waits for room to send.
    waits_for_room: bool,
}

impl SocketServer {
    /// Listens at `path`. A socket that a dead process has left there is replaced.
    pub fn open(path: &Path) -> Result<SocketServer, CharError> {
        let failed = |source| CharError::Socket { path: path.to_owned(), source };
        let (listener, file) = listen(path).map_err(failed)?;
        let watched = epoll::create(CreateFlags::CLOEXEC).and_then(|epoll| {
            epoll::add(&epoll, &listener, EventData::new_u64(0), EventFlags::IN)?;
            Ok(epoll)
        });
        let epoll = watched.map_err(|errno| {
            failed(ListenError::Io { operation: "watching the socket", source: errno.into() })
        })?;
        Ok(SocketServer { file, epoll, listener, state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the newest of the clients that wait, and a hang-up of the present one.
    fn accept(&self, state: &mut State) {
        // Bounded by the listener's queue; more are taken next time.
        for _ in 0..8 {
            let Ok((stream, _)) = self.listener.accept() else { return };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let added = epoll::add(&self.epoll, &stream, EventData::new_u64(1), EventFlags::IN);
            if let Err(error) = added {
                debug!(%error, "console client refused");
                continue;
            }
            // Closing the former client's descriptor takes it out of the set.
            let oldest = state.said_bytes - state.scroll_back.len() as u64;
            state.client = Some(Client { stream, sent_bytes: oldest, waits_for_room: false });
        }
    }

    /// Sends the client what it can take.
    fn flush(&self, state: &mut State) {
        let Some(client) = &mut state.client else { return };
        let oldest = state.said_bytes - state.scroll_back.len() as u64;
        client.sent_bytes = client.sent_bytes.max(oldest);
        let mut is_full = false;
        while client.sent_bytes < state.said_bytes && !is_full {
            let unsent = unsent(&state.scroll_back, (client.sent_bytes - oldest) as usize);
            match send(&client.stream, unsent, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => client.sent_bytes += count as u64,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => is_full = true,
                Err(_) => {
                    state.client = None;
                    return;
                }
            }
        }
        if is_full != client.waits_for_room {
            let flags = if is_full { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            // Fails only for a client that is not in the set, and it is.
            let _ = epoll::modify(&self.epoll, &client.stream, EventData::new_u64(1), flags);
            client.waits_for_room = is_full;
        }
    }
}

/// Bytes of `scroll_back` after the first `skip`, as far as they lie together.
fn unsent(scroll_back: &VecDeque<u8>, skip: usize) -> &[u8] {
    let (first, second) = scroll_back.as_slices();
    if skip < first.len() { &first[skip..] } else { &second[skip - first.len()..] }
}

impl CharBackend for SocketServer {
    fn write(&self, data: &[u8]) {
        let mut state = self.lock();
        let kept = &data[data.len().saturating_sub(SCROLL_BACK_BYTES)..];
        let excess = (state.scroll_back.len() + kept.len()).saturating_sub(SCROLL_BACK_BYTES);
        // What the client has not been sent goes out before it would be lost.
        if excess > 0 {
            self.flush(&mut state);
        }
        state.scroll_back.drain(..excess);
        state.scroll_back.extend(kept);
        state.said_bytes += data.len() as u64;
        self.flush(&mut state);
    }

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        Some(self.epoll.as_fd())
    }

    fn read(&self, buffer: &mut [u8]) -> usize {
        let mut state = self.lock();
        self.accept(&mut state);
        self.flush(&mut state);
        if buffer.is_empty() {
            return 0;
        }
        let Some(client) = &mut state.client else { return 0 };
        match client.stream.read(buffer) {
            Ok(count) if count > 0 => count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
            // The end, or an error: the client is gone.
            _ => {
                state.client = None;
                0
            }
        }
    }
}

#[cfg(test)]
mod tests;
