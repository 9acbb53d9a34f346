//! What the guest of a clone is told while it runs: who it is now.

use std::path::Path;

use crate::script::{clone_archive, is_archive};
use crate::{SeedError, write_private};

/// Serial number of the virtio disk that tells it.
pub const CLONE_SERIAL: &str = "clone-identity";

/// What the guest's service writes to the beginning of that disk when it is done.
const DONE: &[u8] = b"done";

/// Who a clone is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloneIdentity {
    /// Host name.
    pub hostname: String,
    /// Machine id (machine-id(5)): 32 hexadecimal digits, small letters.
    pub machine_id: String,
}

/// Writes what `clone` is told to a new file at `path`.
///
/// # Errors
/// The name cannot be a host's, or the file cannot be written.
pub fn write_clone(clone: &CloneIdentity, path: &Path) -> Result<(), SeedError> {
    write_private(path, &clone_archive(clone)?)
}

/// Whether a guest whose seed begins with these bytes has the service that reads such disks.
pub fn reads_clones(seed: &[u8]) -> bool {
    is_archive(seed)
}

/// Whether the guest is done with the disk that begins with these bytes.
pub fn was_read(disk: &[u8]) -> bool {
    disk.starts_with(DONE)
}
