//! The other end of a console: where a guest's characters go and come from.
//!
//! [`CharBackend`] is the contract; implemented by [`Stdio`], [`FileLog`], [`SocketServer`] and [`Null`].
//! Used by the machine for the serial port, with an [`InputPump`], and by `virtio_console`. Nothing here
//! knows what a guest is.
//!
//! Output never holds a caller (a vCPU) up for long: what cannot be written at once is kept in a bounded
//! buffer, whose oldest bytes are dropped when it overflows; each implementation says what it keeps.

mod escape;
mod file;
mod output;
mod pump;
mod socket;
mod stdio;

use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

pub use file::FileLog;
pub use host_sys::terminal::WindowSize;
use host_sys::unix_socket::ListenError;
pub use pump::{InputPump, InputSource};
pub use socket::{SCROLL_BACK_BYTES, SocketServer};
pub use stdio::Stdio;

/// One console's other end. Methods may be called from any thread.
pub trait CharBackend: Send + Sync {
    /// Takes `data` for output, all of it. Errors of the receiving side cost the bytes and are logged.
    fn write(&self, data: &[u8]);

    /// Readable while [`read`](CharBackend::read) has something to do: input, or housekeeping of the
    /// backend. `None` for a backend that has neither. After the end of input it is never readable again.
    fn readable(&self) -> Option<BorrowedFd<'_>>;

    /// Moves input that has arrived to `buffer` and returns how many bytes; 0 when there is none now. Never
    /// blocks. With an empty `buffer` no input is taken and only housekeeping is done, which a terminal's keys to end the
    /// VM are part of.
    fn read(&self, buffer: &mut [u8]) -> usize;

    /// The size of the terminal at the other end, where there is one.
    fn window_size(&self) -> Option<WindowSize> {
        None
    }
}

/// Why a backend could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum CharError {
    /// The log file could not be opened.
    #[error("cannot open console file {path}")]
    File {
        /// As given.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The socket could not be made.
    #[error("cannot listen on console socket {path}")]
    Socket {
        /// As given.
        path: PathBuf,
        /// Why.
        source: ListenError,
    },
    /// Standard input or output could not be used.
    #[error("cannot use the standard input and output as console: {operation} failed")]
    Stdio {
        /// The operation that failed.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// No other end: output is dropped, and there is no input.
#[derive(Clone, Copy, Debug, Default)]
pub struct Null;

impl CharBackend for Null {
    fn write(&self, _data: &[u8]) {}

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn read(&self, _buffer: &mut [u8]) -> usize {
        0
    }
}
