//! Transfers that the kernel may cut short, and answers that mean that it cannot do a thing at all.

use std::io;

use guest_memory::IoBuffers;
use rustix::io::Errno;

use crate::trouble::ended_early;

/// Whether the host answered that it cannot do such a thing at all: `EOPNOTSUPP` and, from devices asked for
/// less than a block or kernels that do not know the mode, `EINVAL`; `ENOTTY` from drivers without the ioctl.
pub(crate) fn is_unsupported(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOTTY | Errno::NOSYS))
}

/// Repeats `step(rest, offset)` until all of `buffers` is transferred.
pub(crate) fn transfer(
    mut buffers: IoBuffers,
    offset_bytes: u64,
    step: impl Fn(&IoBuffers, u64) -> io::Result<usize>,
) -> io::Result<()> {
    let mut offset_bytes = offset_bytes;
    // Drops pieces without length, of which a transfer could consist otherwise.
    buffers.advance(0);
    while buffers.len_bytes() > 0 {
        match step(&buffers, offset_bytes) {
            Ok(0) => return Err(ended_early()),
            Ok(done) => {
                buffers.advance(done);
                offset_bytes += done as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
