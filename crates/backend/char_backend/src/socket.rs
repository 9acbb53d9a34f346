//! A console that people connect to.
//!
//! ```text
//! Listening ──client──► Connected ──hang-up──► Listening
//!                          │  ▲
//!                          └──┘ another client takes the place of the first
//! ```

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, send,
    socket_with,
};
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
    path: PathBuf,
    /// Device and inode of the socket's file: another's is not removed.
    file: (u64, u64),
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
        let failed = |operation| {
            move |errno: Errno| CharError::Socket { path: path.to_owned(), operation, source: errno.into() }
        };
        let address = SocketAddrUnix::new(path).map_err(|errno| match errno {
            Errno::NAMETOOLONG => CharError::SocketPathTooLong(path.to_owned()),
            errno => failed("address")(errno),
        })?;
        remove_stale(path, &address)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(failed("socket"))?;
        // The file takes its mode from the socket (unix(7) leaves it unsaid; Linux has always done so).
        fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(failed("fchmod"))?;
        bind(&socket, &address).map_err(|errno| match errno {
            Errno::ADDRINUSE => CharError::SocketInUse(path.to_owned()),
            errno => failed("bind")(errno),
        })?;
        listen(&socket, 8).map_err(failed("listen"))?;
        let metadata = fs::symlink_metadata(path).map_err(|source| CharError::Socket {
            path: path.to_owned(),
            operation: "stat",
            source,
        })?;
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(failed("epoll_create"))?;
        epoll::add(&epoll, &socket, EventData::new_u64(0), EventFlags::IN).map_err(failed("epoll_ctl"))?;
        Ok(SocketServer {
            path: path.to_owned(),
            file: (metadata.dev(), metadata.ino()),
            epoll,
            listener: socket.into(),
            state: Mutex::default(),
        })
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

/// Removes a socket that nobody listens on.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), CharError> {
    let failed = |operation| move |source| CharError::Socket { path: path.to_owned(), operation, source };
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(CharError::NotASocket(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(failed("stat")(source)),
    }
    // A socket of another type asks without disturbing a listener: that one answers EPROTOTYPE.
    let probe = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(|errno| failed("socket")(errno.into()))?;
    match connect(&probe, address) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(failed("removing a stale socket")),
        Err(Errno::NOENT) => Ok(()),
        _ => Err(CharError::SocketInUse(path.to_owned())),
    }
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

impl Drop for SocketServer {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.file);
        if ours {
            // It may be gone meanwhile; there is nobody to tell of anything else.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests;
