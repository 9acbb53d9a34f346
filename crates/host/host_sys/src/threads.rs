//! Threads that cost little: a name for `top -H` and a small stack.

use std::io;
use std::thread::{Builder, JoinHandle};

/// Stack of a device or vCPU thread in bytes. Only touched pages are paid for; the bound catches recursion.
const STACK_SIZE_BYTES: usize = 256 * 1024;

/// Starts a thread shown as `name` (cut to 15 bytes by the kernel).
pub fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).stack_size(STACK_SIZE_BYTES).spawn(run)
}
