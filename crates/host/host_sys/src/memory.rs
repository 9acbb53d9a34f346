//! Anonymous files for shared memory.

use std::fs::File;
use std::io;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

/// A sealed-off anonymous file of `size_bytes`, shown as `name` in `/proc/PID/maps`.
pub fn memfd(name: &str, size_bytes: u64) -> io::Result<File> {
    let file = memfd_create(name, MemfdFlags::CLOEXEC)?;
    ftruncate(&file, size_bytes)?;
    Ok(File::from(file))
}
