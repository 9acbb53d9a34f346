//! What block devices offer beyond files (Linux, `include/uapi/linux/fs.h`).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// `BLKDISCARD`: `_IO(0x12, 119)`.
const BLKDISCARD: libc::Ioctl = 0x1277;

/// Tells the device that the range's contents are not needed any more. Both numbers in bytes, multiples of
/// the logical block size; what the range reads as afterwards is up to the device.
///
/// # Errors
/// `EOPNOTSUPP` where the device cannot, `ENOTTY` for a file that is no block device.
pub fn discard(device: &File, offset_bytes: u64, len_bytes: u64) -> io::Result<()> {
    let range = [offset_bytes, len_bytes];
    // SAFETY: BLKDISCARD reads two u64 from the pointer, which names such an array.
    let answer = unsafe { libc::ioctl(device.as_raw_fd(), BLKDISCARD, range.as_ptr()) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The device's logical block size in bytes (`BLKSSZGET`): its smallest unit of I/O.
///
/// # Errors
/// `ENOTTY` for a file that is no block device.
pub fn logical_block_size(device: &File) -> io::Result<u32> {
    Ok(rustix::fs::ioctl_blksszget(device)?)
}

/// The device's physical block size in bytes (`BLKPBSZGET`): what it moves at least inside.
///
/// # Errors
/// `ENOTTY` for a file that is no block device.
pub fn physical_block_size(device: &File) -> io::Result<u32> {
    Ok(rustix::fs::ioctl_blkpbszget(device)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_no_block_devices() {
        let file = crate::memory::memfd("test", 4096).unwrap();
        assert_eq!(discard(&file, 0, 512).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert_eq!(logical_block_size(&file).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert_eq!(physical_block_size(&file).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
    }
}
