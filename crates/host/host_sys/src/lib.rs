//! The one crate that talks to libc: everything the rest of Yagura needs from the host kernel that safe
//! libraries do not offer already.
//!
//! It knows nothing of virtual machines. Each module wraps one kernel facility behind a safe interface.

#![allow(unsafe_code)]

pub mod block_device;
pub mod child_usage;
pub mod code_memory;
mod endings;
pub mod features;
pub mod file_copy;
pub mod file_lock;
pub mod inherited;
pub mod io_buffers;
pub mod io_port;
pub mod limits;
pub mod memory;
pub mod named_file;
pub mod new_file;
pub mod open_beneath;
pub mod poll;
pub mod process_title;
pub mod ring;
pub mod sandbox;
pub mod signals;
pub mod sparse;
pub mod tap;
pub mod terminal;
pub mod threads;
pub mod touched;
pub mod unix_socket;
