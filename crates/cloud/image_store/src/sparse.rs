//! Files with holes: hashing, writing and copying them without touching what is not there.

use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use disk::Output;
use host_sys::file_copy::share_blocks;
use host_sys::new_file::NewFile;
use host_sys::sparse::{SparseWriter, first_run};
use messages::{Cancelled, Progress};
use rustix::fs::{FallocateFlags, OFlags, SeekFrom};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

use crate::ByteProgress;
use crate::error::StoreError;
use image_model::Digest;

const CHUNK_BYTES: usize = 1 << 20;
static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];

/// A piece of a file.
enum Piece<'a> {
    /// What is there.
    Data(&'a [u8]),
    /// So many zeros that are not there.
    Hole(usize),
}

/// The SHA-256 of all bytes of a file; holes count as the zeros that they are read as, but are not read.
///
/// # Errors
/// The file cannot be read.
pub fn hash_file(path: &Path, progress: ByteProgress<'_>) -> Result<Digest, StoreError> {
    hash_while(path, &mut going_on(progress))
}

/// The same, as long as it is wanted.
pub(crate) fn hash_while(path: &Path, progress: Progress<'_>) -> Result<Digest, StoreError> {
    let file = open_source(path)?;
    let mut hasher = Sha256::new();
    let hashed = walk(&file, progress, |_, piece| {
        match piece {
            Piece::Data(data) => hasher.update(data),
            Piece::Hole(bytes) => hasher.update(&ZEROS[..bytes]),
        }
        Ok(())
    });
    hashed.map_err(|error| match error.get_ref() {
        Some(inner) if inner.is::<Cancelled>() => StoreError::Cancelled(Cancelled),
        _ => StoreError::io("read", path)(error),
    })?;
    Ok(Digest::from_bytes(hasher.finalize().into()))
}

/// Copies a file to a new one; holes and blocks of zeros become holes. Returns its length in bytes.
///
/// # Errors
/// The source cannot be read, the target is there, or there is no room; then there is no target.
fn copy_to(source: &Path, output: Output<'_>, progress: ByteProgress<'_>) -> Result<u64, StoreError> {
    let from = open_source(source)?;
    let target = output.path;
    make_file(output, |to| {
        let mut writer = SparseWriter::new(to.try_clone().map_err(StoreError::io("use", target))?);
        let copied = walk(&from, &mut going_on(progress), |at, piece| match piece {
            Piece::Data(data) => {
                writer.seek(at);
                writer.write_all(data)
            }
            Piece::Hole(_) => Ok(()),
        });
        let bytes = copied.map_err(StoreError::io("copy to", target))?;
        writer.finish(bytes).map_err(StoreError::io("write", target))?;
        Ok(bytes)
    })
}

/// Makes `target` hold what `source` holds: with shared blocks where the file system can, else as a sparse
/// copy.
pub(crate) fn clone_or_copy(
    source: &Path,
    target: Output<'_>,
    progress: ByteProgress<'_>,
) -> Result<u64, StoreError> {
    match clone(source, target)? {
        Some(bytes) => Ok(bytes),
        None => copy_to(source, target, progress),
    }
}

/// Makes `target` a file that shares all blocks with `source`; nothing where the file system cannot.
pub(crate) fn clone(source: &Path, target: Output<'_>) -> Result<Option<u64>, StoreError> {
    let from = open_source(source)?;
    let bytes = from.metadata().map_err(StoreError::io("look at", source))?.len();
    let Output { path, mode } = target;
    let new = NewFile::create(path, mode).map_err(StoreError::io("make", path))?;
    if !share_blocks(&from, new.file()).map_err(StoreError::io("share blocks with", path))? {
        return Ok(None);
    }
    new.keep().map_err(StoreError::io("make", path))?;
    Ok(Some(bytes))
}

/// Gives the blocks of a file that hold nothing but zeros back to the file system, where it can take them.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn punch_zeros(path: &Path) -> Result<(), StoreError> {
    let file = File::options().read(true).write(true).open(path).map_err(StoreError::io("open", path))?;
    let punched = walk(&file, &mut messages::unwatched, |at, piece| {
        let Piece::Data(mut data) = piece else { return Ok(()) };
        let mut at = at;
        while !data.is_empty() {
            let (zeros, bytes) = first_run(at, data);
            if zeros {
                punch(&file, at, bytes as u64)?;
            }
            at += bytes as u64;
            data = &data[bytes..];
        }
        Ok(())
    });
    punched.map(|_| ()).map_err(StoreError::io("read", path))
}

fn punch(file: &File, at: u64, bytes: u64) -> io::Result<()> {
    let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(file, how, at, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        answer => Ok(answer?),
    }
}

/// Opens a regular file for reading, without following a link at its end and without waiting.
fn open_source(path: &Path) -> Result<File, StoreError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::options().read(true).custom_flags(flags.bits() as i32).open(path);
    let file = file.map_err(StoreError::io("open", path))?;
    let metadata = file.metadata().map_err(StoreError::io("look at", path))?;
    if !metadata.is_file() {
        let refused = io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
        return Err(StoreError::io("use", path)(refused));
    }
    Ok(file)
}

/// Makes a file that `fill` fills; if that fails, or the process ends before, there is no file.
fn make_file<T>(
    target: Output<'_>,
    fill: impl FnOnce(&File) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let Output { path, mode } = target;
    let new = NewFile::create(path, mode).map_err(StoreError::io("make", path))?;
    let filled = fill(new.file())?;
    new.keep().map_err(StoreError::io("make", path))?;
    Ok(filled)
}

/// A [`Progress`] of what comes to its end in any case.
pub(crate) fn going_on(progress: ByteProgress<'_>) -> impl FnMut(u64, u64) -> ControlFlow<()> + '_ {
    move |done, all| {
        progress(done, all);
        ControlFlow::Continue(())
    }
}

/// Goes through a file piece by piece, in order. Returns its length in bytes.
fn walk(
    file: &File,
    progress: Progress<'_>,
    mut each: impl FnMut(u64, Piece<'_>) -> io::Result<()>,
) -> io::Result<u64> {
    let total = file.metadata()?.len();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut at = 0;
    let mut tell = |at| match progress(at, total) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(io::Error::other(Cancelled)),
    };
    tell(0)?;
    while at < total {
        let data = data_from(file, at)?.unwrap_or(total).min(total);
        while at < data {
            let bytes = (data - at).min(CHUNK_BYTES as u64) as usize;
            each(at, Piece::Hole(bytes))?;
            at += bytes as u64;
            tell(at)?;
        }
        let hole = if at < total { hole_from(file, at)?.min(total) } else { total };
        while at < hole {
            let bytes = (hole - at).min(CHUNK_BYTES as u64) as usize;
            file.read_exact_at(&mut buffer[..bytes], at)?;
            each(at, Piece::Data(&buffer[..bytes]))?;
            at += bytes as u64;
            tell(at)?;
        }
    }
    Ok(total)
}

/// Where data begins at or behind `at`; nowhere if only a hole is left. Without holes in the file system, at
/// `at`.
fn data_from(file: &File, at: u64) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(data) => Ok(Some(data)),
        Err(Errno::NXIO) => Ok(None),
        Err(Errno::INVAL) => Ok(Some(at)),
        Err(errno) => Err(errno.into()),
    }
}

/// Where the data that begins at `at` ends.
fn hole_from(file: &File, at: u64) -> io::Result<u64> {
    match rustix::fs::seek(file, SeekFrom::Hole(at)) {
        Ok(hole) => Ok(hole),
        Err(Errno::INVAL) => Ok(u64::MAX),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    fn silent(_: u64, _: u64) {}

    /// 8 MiB with data at both ends of holes.
    fn sparse_file(path: &Path) -> Vec<u8> {
        let mut bytes = vec![0; 8 << 20];
        for at in [0, 4095, 4096, 3 << 20, (5 << 20) + 17, (8 << 20) - 1] {
            bytes[at] = 7;
        }
        let file = File::create(path).unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        for (index, block) in bytes.chunks(4096).enumerate() {
            let at = index * 4096;
            if block.iter().any(|byte| *byte != 0) {
                file.write_all_at(block, at as u64).unwrap();
            }
        }
        bytes
    }

    #[test]
    fn holes_are_hashed_as_zeros() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sparse");
        let bytes = sparse_file(&path);
        let mut last = (0, 0);
        let digest = hash_file(&path, &mut |done, total| last = (done, total)).unwrap();
        assert_eq!(digest, Digest::from_bytes(Sha256::digest(&bytes).into()));
        assert_eq!(last, (8 << 20, 8 << 20));
    }

    #[test]
    fn copies_are_equal_and_no_larger() {
        let folder = tempfile::tempdir().unwrap();
        let (source, target) = (folder.path().join("source"), folder.path().join("target"));
        let bytes = sparse_file(&source);
        assert_eq!(copy_to(&source, (&*target).into(), &mut silent).unwrap(), 8 << 20);
        assert_eq!(fs::read(&target).unwrap(), bytes);
        assert!(fs::metadata(&target).unwrap().blocks() * 512 < 1 << 20);
        assert!(copy_to(&source, (&*target).into(), &mut silent).is_err());
    }

    #[test]
    fn links_and_folders_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(hash_file(&link, &mut silent).is_err());
        assert!(hash_file(folder.path(), &mut silent).is_err());
    }
}
