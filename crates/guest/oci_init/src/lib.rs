//! The first process of a machine that was made of an OCI image, and what it has to be told.
//!
//! ```text
//! host:  configuration of the image ─► Process ─ encode ─► /.yagura/process, in the image's disk
//! guest: kernel ─► init (process 1): mounts, host name, network
//!                    └─► enter: a process namespace
//!                          └─► start (process 1 in there): terminal, user ─ execve ─► the command
//!        power button ─► stop signal ─► 10 s ─► SIGKILL;  the command's end ─► exit status port ─► the machine's end
//! ```
//!
//! The contract is that of runc and Docker. The library part is pure and shared with the host; the program is static,
//! since an image may hold nothing but one program.

pub mod environment;
mod process;
pub mod users;

pub use process::{Process, StopSignal};

/// The folder of ours in the image's tree.
pub const FOLDER: &str = "/.yagura";
/// Where the guest finds its [`Process`].
pub const PROCESS_FILE: &str = "/.yagura/process";
/// On the kernel's command line: the port that takes the command's exit status.
pub const EXIT_PORT_PARAMETER: &str = "yagura.exit-port=";

/// Exit statuses of what never ran, as Docker has them.
pub mod status {
    /// The machine could not be made ready for the command.
    pub const NOT_READY: u8 = 125;
    /// The command is there and cannot be executed.
    pub const NOT_EXECUTABLE: u8 = 126;
    /// The command is not there.
    pub const NOT_FOUND: u8 = 127;
    /// Added to the number of the signal that ended the command.
    pub const SIGNAL: u8 = 128;
}
