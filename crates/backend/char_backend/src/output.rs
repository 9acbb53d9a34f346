//! Output to a descriptor that may not keep up.
//!
//! ```text
//! Direct ──would block──► Buffered (a thread writes the rest as it can) ──all written──► Direct
//!                            │
//!                            └──full for 100 ms──► Stalled: the oldest bytes are dropped, without waiting
//!                                                     └──one byte written──► Buffered
//! ```

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::net::SendFlags;
use tracing::debug;

/// Bytes kept for a descriptor that does not keep up.
const LIMIT_BYTES: usize = 256 * 1024;
/// How long one caller waits for room, once a stall.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long the end of the output waits for what is buffered.
const FAREWELL: Duration = Duration::from_millis(300);
/// How long the writer waits for its descriptor before it looks for the end.
const WRITER_POLL: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// A pipe that polls writable takes so many bytes without blocking (`PIPE_BUF`).
const PIPE_CHUNK_BYTES: usize = 4096;

/// A descriptor and how it is written without blocking, nor changing flags that others share.
pub enum Sink {
    /// Regular files, and descriptors of our own that do not block.
    Plain(OwnedFd),
    /// Pipes and what cannot be opened again: polled before each piece.
    Polled(OwnedFd),
    /// Sockets.
    Socket(OwnedFd),
}

impl Sink {
    /// The right way for a descriptor that may be shared, such as standard output.
    pub fn for_shared(fd: OwnedFd) -> io::Result<Sink> {
        Ok(match FileType::from_raw_mode(fstat(&fd)?.st_mode) {
            FileType::RegularFile => Sink::Plain(fd),
            FileType::Socket => Sink::Socket(fd),
            FileType::CharacterDevice => {
                // A terminal has room for fewer bytes than it may be given: an opening of our own can refuse.
                let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
                let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                open(path, flags, Mode::empty()).map_or(Sink::Polled(fd), Sink::Plain)
            }
            _ => Sink::Polled(fd),
        })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Sink::Plain(fd) | Sink::Polled(fd) | Sink::Socket(fd) => fd.as_fd(),
        }
    }

    /// Writes some of `data`; `WouldBlock` when nothing can be written now.
    fn write_some(&self, data: &[u8]) -> io::Result<usize> {
        loop {
            let written = match self {
                Sink::Plain(fd) => rustix::io::write(fd, data),
                Sink::Socket(fd) => rustix::net::send(fd, data, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
                Sink::Polled(fd) => match self.wait_writable(Timespec::default()) {
                    true => rustix::io::write(fd, &data[..data.len().min(PIPE_CHUNK_BYTES)]),
                    false => Err(rustix::io::Errno::AGAIN),
                },
            };
            match written {
                Err(rustix::io::Errno::INTR) => {}
                Ok(count) => return Ok(count),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Waits until something can be written, or fails at once.
    fn wait_writable(&self, timeout: Timespec) -> bool {
        let mut fds = [PollFd::from_borrowed_fd(self.fd(), PollFlags::OUT)];
        poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0)
    }
}

/// Output that never holds its caller up for longer than [`PATIENCE`]. Dropping it waits for [`FAREWELL`] at
/// most.
pub struct BoundedOutput {
    shared: Arc<Shared>,
}

struct Shared {
    sink: Sink,
    /// A loss was told of.
    has_told: AtomicBool,
    state: Mutex<State>,
    /// There is more room, or the writer has ended.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    pending: VecDeque<u8>,
    has_writer: bool,
    is_stalled: bool,
    ends_at: Option<Instant>,
}

impl BoundedOutput {
    /// Output to `sink`.
    pub fn new(sink: Sink) -> BoundedOutput {
        let shared = Shared {
            sink,
            has_told: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        BoundedOutput { shared: Arc::new(shared) }
    }

    /// Takes all of `data`, or drops the oldest bytes that have not been written.
    pub fn write(&self, data: &[u8]) {
        let mut state = self.shared.lock();
        if !state.has_writer {
            // Nothing is pending, unless a thread could not be had: then that comes first.
            self.shared.flush(&mut state);
        }
        let direct = if state.pending.is_empty() { self.shared.write_direct(data) } else { 0 };
        let rest = &data[direct..];
        if rest.is_empty() {
            return;
        }
        state = self.wait_for_room(state, rest.len());
        state.push(rest);
        if !state.has_writer {
            let shared = Arc::clone(&self.shared);
            state.has_writer =
                host_sys::threads::spawn("console-out", move || shared.write_pending()).is_ok();
        }
    }

    fn wait_for_room<'a>(&self, mut state: MutexGuard<'a, State>, bytes: usize) -> MutexGuard<'a, State> {
        let deadline = Instant::now() + PATIENCE;
        while state.has_writer && !state.is_stalled && state.pending.len() + bytes > LIMIT_BYTES {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                debug!("console output stalls: the oldest bytes are dropped");
                state.is_stalled = true;
                break;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }
}

impl Drop for BoundedOutput {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let end = Instant::now() + FAREWELL;
        state.ends_at = Some(end);
        // A thread could not be had: what waits is written here.
        while !state.has_writer && !state.pending.is_empty() && Instant::now() < end {
            self.shared.flush(&mut state);
            if !state.pending.is_empty() {
                self.shared.sink.wait_writable(WRITER_POLL);
            }
        }
        while state.has_writer {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl State {
    fn push(&mut self, data: &[u8]) {
        let data = &data[data.len().saturating_sub(LIMIT_BYTES)..];
        let excess = (self.pending.len() + data.len()).saturating_sub(LIMIT_BYTES);
        self.pending.drain(..excess);
        self.pending.extend(data);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what can be written at once. What fails for another reason counts as written: it is lost.
    fn write_direct(&self, data: &[u8]) -> usize {
        let mut done = 0;
        while done < data.len() {
            match self.sink.write_some(&data[done..]) {
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return done,
                Err(error) => {
                    self.report_loss(&error, data.len() - done);
                    return data.len();
                }
            }
        }
        done
    }

    /// A reader that has gone is nobody's trouble; a full file system, say, is told of once.
    fn report_loss(&self, error: &io::Error, bytes: usize) {
        let is_reader_gone =
            matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset);
        if is_reader_gone || self.has_told.swap(true, Ordering::Relaxed) {
            debug!(%error, bytes, "console output lost");
        } else {
            tracing::error!(%error, "console output is lost");
        }
    }

    /// Writes what is pending as far as possible.
    fn flush(&self, state: &mut State) {
        while !state.pending.is_empty() {
            let done = self.write_direct(state.pending.as_slices().0);
            if done == 0 {
                return;
            }
            state.pending.drain(..done);
            state.is_stalled = false;
            self.changed.notify_all();
        }
    }

    /// The writer's thread: it ends when nothing is pending, or the output has ended.
    fn write_pending(&self) {
        loop {
            let mut state = self.lock();
            self.flush(&mut state);
            if state.pending.is_empty() || state.ends_at.is_some_and(|end| Instant::now() >= end) {
                state.has_writer = false;
                self.changed.notify_all();
                return;
            }
            drop(state);
            self.sink.wait_writable(WRITER_POLL);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_slow_reader_gets_everything_that_fits() {
        let (mut reader, writer) = UnixStream::pair().unwrap();
        let output = BoundedOutput::new(Sink::for_shared(writer.into()).unwrap());
        let data: Vec<u8> = (0..400_000u32).map(|index| index as u8).collect();
        let reading = std::thread::spawn(move || {
            let mut got = Vec::new();
            reader.read_to_end(&mut got).unwrap();
            got
        });
        data.chunks(1000).for_each(|chunk| output.write(chunk));
        drop(output);
        assert!(reading.join().unwrap() == data);
    }

    #[test]
    fn a_reader_that_stops_costs_the_oldest_bytes_and_little_time() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let output = BoundedOutput::new(Sink::for_shared(writer).unwrap());
        let start = Instant::now();
        for index in 0..1000u32 {
            output.write(&[index as u8; 1000]);
        }
        output.write(b"the end");
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        let mut reader = std::fs::File::from(reader);
        let reading = std::thread::spawn(move || {
            let mut got = Vec::new();
            reader.read_to_end(&mut got).unwrap();
            got
        });
        drop(output);
        let got = reading.join().unwrap();
        assert!(got.ends_with(b"the end") && got.len() < 700_000, "{} bytes", got.len());
    }

    #[test]
    fn a_reader_that_is_gone_costs_nothing() {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        drop(reader);
        let output = BoundedOutput::new(Sink::for_shared(writer).unwrap());
        output.write(b"lost");
        output.write(&[0; 100_000]);
    }
}
