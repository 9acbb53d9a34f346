//! Copies of whole files that cost as little as the file system lets them: shared blocks, and holes that stay holes.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{FallocateFlags, SeekFrom, copy_file_range, fallocate, ioctl_ficlone, seek, statvfs};
use rustix::io::Errno;

/// How a copy was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyMethod {
    /// Both files share their blocks until either is changed.
    SharedBlocks,
    /// Byte by byte, but for holes.
    Copied,
}

/// Bytes that are moved at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Makes `to`, which is empty, hold what `from` holds. Nobody writes to `from` meanwhile. Not brought to stable storage.
///
/// # Errors
/// What the host refuses: room, most often.
pub fn copy_file(from: &File, to: &File) -> io::Result<CopyMethod> {
    if share_blocks(from, to)? {
        return Ok(CopyMethod::SharedBlocks);
    }
    let length = from.metadata()?.len();
    to.set_len(length)?;
    let mut at = 0;
    while let Some((start, end)) = next_data(from, at, length)? {
        copy_range(from, to, start, end)?;
        at = end;
    }
    Ok(CopyMethod::Copied)
}

/// Makes `to` as long as `from`, and hold what that holds in these ranges of bytes, holes too. Others may write to `from`
/// meanwhile; then nobody knows which of the two is there.
///
/// # Errors
/// What the host refuses: room, most often.
pub fn copy_ranges(from: &File, to: &File, ranges: impl IntoIterator<Item = Range<u64>>) -> io::Result<()> {
    let length = from.metadata()?.len();
    to.set_len(length)?;
    for Range { start, end } in ranges {
        let (mut at, end) = (start, end.min(length));
        while at < end {
            let (data_start, data_end) = next_data(from, at, end)?.unwrap_or((end, end));
            clear(to, at, data_start)?;
            copy_range(from, to, data_start, data_end)?;
            at = data_end;
        }
    }
    Ok(())
}

/// Makes a range read as zeros.
fn clear(file: &File, start: u64, end: u64) -> io::Result<()> {
    if start >= end {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, start, end - start) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let zeros = vec![0; CHUNK_BYTES];
            let mut at = start;
            while at < end {
                let now = zeros.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
                file.write_all_at(&zeros[..now], at)?;
                at += now as u64;
            }
            Ok(())
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Makes `to` share all blocks with `from` until either is changed; returns false where the file systems cannot, and then
/// `to` is as it was.
///
/// # Errors
/// What the host refuses: room, most often.
pub fn share_blocks(from: &File, to: &File) -> io::Result<bool> {
    match ioctl_ficlone(to, from) {
        Ok(()) => Ok(true),
        // No such file system, or not the same one.
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether a copy of `from` in `to`, which is empty and stays so, shares its blocks.
pub fn can_share_blocks(from: &File, to: &File) -> bool {
    ioctl_ficlone(to, from).is_ok() && to.set_len(0).is_ok()
}

/// The next piece of a file of `length` bytes, from `at` on, that is no hole: where it begins, and what is behind it. All of
/// it, where the file system knows no holes.
///
/// # Errors
/// The host refuses.
pub fn next_data(file: &File, at: u64, length: u64) -> io::Result<Option<(u64, u64)>> {
    if at >= length {
        return Ok(None);
    }
    let start = match seek(file, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        // Not every file system tells of holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((at, length))),
        Err(errno) => return Err(errno.into()),
    };
    let end = seek(file, SeekFrom::Hole(start)).map_err(io::Error::from)?;
    Ok((start < length).then_some((start, end.min(length))))
}

/// What the file system of `path` has free for this user, in bytes.
///
/// # Errors
/// The host refuses.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let room = statvfs(path)?;
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}

fn copy_range(from: &File, to: &File, start: u64, end: u64) -> io::Result<()> {
    let (mut source, mut target) = (start, start);
    while source < end {
        let wanted = usize::try_from(end - source).unwrap_or(usize::MAX);
        match copy_file_range(from, Some(&mut source), to, Some(&mut target), wanted) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    let mut chunk = vec![0; if source < end { CHUNK_BYTES } else { 0 }];
    while source < end {
        let now = chunk.len().min(usize::try_from(end - source).unwrap_or(usize::MAX));
        match from.read_at(&mut chunk[..now], source) {
            // It has become shorter.
            Ok(0) => break,
            Ok(read) => {
                to.write_all_at(&chunk[..read], source)?;
                source += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_copy_has_the_bytes_and_the_holes() {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            let options = File::options().read(true).write(true).create_new(true).clone();
            options.open(folder.path().join(name)).unwrap()
        };
        let (from, to) = (open("from"), open("to"));
        from.set_len(64 << 20).unwrap();
        from.write_all_at(b"begin", 0).unwrap();
        from.write_all_at(&[7; 100_000], 33 << 20).unwrap();
        copy_file(&from, &to).unwrap();
        assert_eq!(to.metadata().unwrap().len(), 64 << 20);
        assert!(to.metadata().unwrap().blocks() * 512 < 4 << 20, "holes stay holes");
        let mut bytes = vec![0; 100_000];
        to.read_exact_at(&mut bytes, 33 << 20).unwrap();
        assert_eq!(bytes, [7; 100_000]);
        to.read_exact_at(&mut bytes[..6], 0).unwrap();
        assert_eq!(&bytes[..6], b"begin\0");
        // What has changed, a hole that is one now, and what is longer.
        from.write_all_at(&[8; 10], 40 << 20).unwrap();
        fallocate(&from, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, 4096).unwrap();
        from.set_len(65 << 20).unwrap();
        copy_ranges(&from, &to, [0..4096, 40 << 20..66 << 20]).unwrap();
        assert_eq!(to.metadata().unwrap().len(), 65 << 20);
        assert_eq!(to.metadata().unwrap().blocks(), from.metadata().unwrap().blocks());
        to.read_exact_at(&mut bytes[..5], 0).unwrap();
        assert_eq!(bytes[..5], [0; 5]);
        to.read_exact_at(&mut bytes[..11], 40 << 20).unwrap();
        assert_eq!(bytes[..11], [8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 0]);
        let (empty, other) = (open("empty"), open("other"));
        copy_file(&empty, &other).unwrap();
        assert_eq!(other.metadata().unwrap().len(), 0);
    }
}
