//! The terminal that the VM was started from, or pipes in its place.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use host_sys::poll::{Poller, Token, event_fd, new_event};
use host_sys::terminal::{RawTerminal, WindowSize, is_foreground, window_size};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use tracing::debug;
use vmm_sys_util::eventfd::EventFd;

use crate::escape::EscapeFilter;
use crate::output::{BoundedOutput, Sink};
use crate::{CharBackend, CharError};

/// How often a process in the background looks whether it has come to the foreground.
const BACKGROUND_CHECK: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };
const NEVER: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
/// Most bytes of a terminal's that were looked through for our keys and wait for the guest. More wait in the terminal.
const TYPED_MAX: usize = 4096;
/// Most bytes read from a terminal at once.
const CHUNK_BYTES: usize = 256;

/// Standard input and output.
///
/// A terminal is in raw mode while this lives, and back as it was after that, however the process ends
/// (see [`host_sys::terminal`]). On a terminal Ctrl-] and then `q` quits, and Ctrl-] twice sends one; up to 4 KiB are
/// read ahead for that while the guest takes nothing. The end of the input is not the end of the VM. Up to 256 KiB of output wait for a slow reader; when they are
/// full, a writer waits for up to 100 ms once, and from then on the oldest bytes are dropped.
pub struct Stdio {
    input: OwnedFd,
    /// Watches the input, or what stands for it now; readable when `read` has something to do.
    poller: Poller,
    /// Rings while the process is in the background.
    timer: OwnedFd,
    /// Readable without the input: always, in place of one that cannot be watched (a regular file, `/dev/null`); while
    /// something of it was read ahead.
    always: EventFd,
    terminal: Option<RawTerminal>,
    reader: Mutex<Reader>,
    output: BoundedOutput,
    on_quit: Box<dyn Fn() + Send + Sync>,
}

struct Reader {
    state: State,
    escape: EscapeFilter,
    /// Read ahead, without our keys.
    typed: VecDeque<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The input is watched.
    Open,
    /// The terminal is another process's: the timer is watched.
    Background,
    /// Nothing is watched.
    Ended,
}

impl Stdio {
    /// Takes the process's standard input and output. `on_quit` is called, on the thread that reads, when
    /// the keys to quit were typed.
    pub fn open(on_quit: impl Fn() + Send + Sync + 'static) -> Result<Stdio, CharError> {
        let failed = |operation| move |source| CharError::Stdio { operation, source };
        let input = io::stdin().as_fd().try_clone_to_owned().map_err(failed("dup of standard input"))?;
        let output = io::stdout().as_fd().try_clone_to_owned().map_err(failed("dup of standard output"))?;
        Stdio::from_fds(input, output, on_quit)
    }

    /// The same with any two descriptors.
    pub fn from_fds(
        input: OwnedFd,
        output: OwnedFd,
        on_quit: impl Fn() + Send + Sync + 'static,
    ) -> Result<Stdio, CharError> {
        let failed = |operation| move |source| CharError::Stdio { operation, source };
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
            .map_err(|errno| CharError::Stdio { operation: "timerfd_create", source: errno.into() })?;
        let output = Sink::for_shared(output).map_err(failed("fstat of standard output"))?;
        let terminal = RawTerminal::enter(input.as_fd()).map_err(failed("raw mode"))?;
        let stdio = Stdio {
            input,
            poller: Poller::new().map_err(failed("epoll_create"))?,
            timer,
            always: new_event().map_err(failed("eventfd"))?,
            terminal,
            reader: Mutex::new(Reader {
                state: State::Open,
                escape: EscapeFilter::default(),
                typed: VecDeque::new(),
            }),
            output: BoundedOutput::new(output),
            on_quit: Box::new(on_quit),
        };
        stdio.watch_input().map_err(failed("watching the input"))?;
        stdio.poller.watch(stdio.timer.as_fd(), Token(1)).map_err(failed("watching a timer"))?;
        Ok(stdio)
    }

    fn watch_input(&self) -> io::Result<()> {
        match self.poller.watch(self.input.as_fd(), Token(0)) {
            // What epoll refuses never blocks.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.always.write(1)?;
                self.poller.watch(event_fd(&self.always), Token(0))
            }
            Ok(()) if self.terminal.is_some() => self.poller.watch(event_fd(&self.always), Token(0)),
            other => other,
        }
    }

    fn unwatch_input(&self) {
        // One of the two is watched, or none: not to find the other is no failure.
        let _ = self.poller.unwatch(self.input.as_fd());
        let _ = self.poller.unwatch(event_fd(&self.always));
    }

    fn set_timer(&self, period: Timespec) {
        let setting = Itimerspec { it_interval: period, it_value: period };
        // Fails only for values out of range; these are constants.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &setting);
    }

    fn lock(&self) -> MutexGuard<'_, Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves between foreground and background; `true` when the input may be read.
    fn follow_foreground(&self, reader: &mut Reader) -> bool {
        let Some(terminal) = &self.terminal else { return true };
        match (reader.state, is_foreground(self.input.as_fd())) {
            (State::Open, true) => true,
            (State::Open, false) => {
                self.unwatch_input();
                self.set_timer(BACKGROUND_CHECK);
                reader.state = State::Background;
                false
            }
            (State::Background, true) => {
                self.set_timer(NEVER);
                terminal.resume();
                reader.state = State::Open;
                if let Err(error) = self.watch_input() {
                    self.end(reader, &error);
                }
                reader.state == State::Open
            }
            (State::Background, false) => {
                // Empty unless it has just rung.
                let _ = rustix::io::read(&self.timer, &mut [0u8; 8]);
                false
            }
            (State::Ended, _) => false,
        }
    }

    fn end(&self, reader: &mut Reader, error: &io::Error) {
        debug!(%error, "console input fails: there is no more");
        self.unwatch_input();
        self.set_timer(NEVER);
        reader.state = State::Ended;
    }

    /// Reads what is typed, as far as there is room for it; `true` when our keys to quit are in it.
    fn read_ahead(&self, reader: &mut Reader) -> bool {
        let mut quits = false;
        loop {
            let mut chunk = [0; CHUNK_BYTES];
            let room = (TYPED_MAX - reader.typed.len()).min(CHUNK_BYTES);
            let count = if room > 0 { self.read_input(reader, &mut chunk[..room]) } else { 0 };
            if count == 0 {
                return quits;
            }
            let filtered = reader.escape.filter(&mut chunk[..count]);
            quits |= filtered.quits;
            reader.typed.extend(&chunk[..filtered.len]);
        }
    }

    /// Makes this readable while something was read ahead. Neither call blocks, and neither fails but where it has
    /// nothing to do.
    fn show_typed(&self, reader: &Reader) {
        let _ = self.always.read();
        if !reader.typed.is_empty() {
            let _ = self.always.write(1);
        }
    }

    fn read_input(&self, reader: &mut Reader, buffer: &mut [u8]) -> usize {
        let mut fds = [PollFd::from_borrowed_fd(self.input.as_fd(), PollFlags::IN)];
        // The descriptor may block, and cannot be told otherwise: others share its flags.
        if !poll(&mut fds, Some(&NEVER)).is_ok_and(|ready| ready > 0) {
            return 0;
        }
        match rustix::io::read(&self.input, &mut *buffer) {
            Ok(0) => {
                self.unwatch_input();
                reader.state = State::Ended;
                0
            }
            Ok(count) => count,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => 0,
            // The terminal went to another process between the look and the read: seen next time.
            Err(rustix::io::Errno::IO) if !is_foreground(self.input.as_fd()) => 0,
            Err(errno) => {
                self.end(reader, &errno.into());
                0
            }
        }
    }
}

impl CharBackend for Stdio {
    fn write(&self, data: &[u8]) {
        self.output.write(data);
    }

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        Some(self.poller.as_fd())
    }

    fn read(&self, buffer: &mut [u8]) -> usize {
        let mut reader = self.lock();
        let may_read = reader.state != State::Ended && self.follow_foreground(&mut reader);
        if self.terminal.is_none() {
            return if may_read && !buffer.is_empty() { self.read_input(&mut reader, buffer) } else { 0 };
        }
        let quits = may_read && self.read_ahead(&mut reader);
        let count = reader.typed.len().min(buffer.len());
        for (byte, typed) in buffer.iter_mut().zip(reader.typed.drain(..count)) {
            *byte = typed;
        }
        self.show_typed(&reader);
        drop(reader);
        if quits {
            (self.on_quit)();
        }
        count
    }

    fn window_size(&self) -> Option<WindowSize> {
        window_size(&self.input)
    }
}

#[cfg(test)]
mod tests;
