//! Files that appear whole under their names, or not at all.
//!
//! ```text
//! create ─► a file without a name (O_TMPFILE) ───────── keep: sync, linkat ────────────────► its name
//!    └────► where the file system has none of those: a hidden name ─ keep: sync, rename ──► its name
//! ```
//!
//! Whatever ends the process before [`NewFile::keep`] leaves nothing: a file without a name goes with its last
//! descriptor, and a hidden name is removed by [`endings`]. `SIGKILL` alone, on a file system without
//! nameless files, leaves the hidden file, `.yagura-new-` and a number. What has the name already stays: of two commands
//! that make one file, the second fails.

use std::ffi::{CString, c_char};
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::endings;
use crate::named_file::folder_of;

/// Who may read and write a file that nobody said anything of: its owner.
pub const PRIVATE: u32 = 0o600;

/// How the names of files begin that are not finished, on file systems without nameless ones.
const HIDDEN: &str = ".yagura-new-";

/// Most hidden files at once that a signal's handler removes; more are removed by `drop` alone.
const HIDDEN_MAX: usize = 16;

/// A file in the making. Dropped before [`keep`](NewFile::keep), it leaves nothing.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    target: PathBuf,
    /// `None` while the file has no name.
    hidden: Option<Hidden>,
}

impl NewFile {
    /// Begins a file that is to be `target`, with these permissions, whatever the umask says.
    ///
    /// # Errors
    /// `AlreadyExists` where anything has that name, a link that leads nowhere, too; else what the host refuses.
    pub fn create(target: &Path, mode: u32) -> io::Result<NewFile> {
        match fs::symlink_metadata(target) {
            Ok(_) => return Err(Errno::EXIST.into()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) => {}
        }
        let (file, hidden) = match open_nameless(folder_of(target))? {
            Some(file) => (file, None),
            None => {
                let (file, hidden) = Hidden::create(folder_of(target))?;
                (file, Some(hidden))
            }
        };
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        Ok(NewFile { file, target: target.to_owned(), hidden })
    }

    /// The file, open for reading and writing.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Brings the file to stable storage, gives it its name, and brings that to stable storage, too.
    ///
    /// # Errors
    /// `AlreadyExists` where something has taken the name meanwhile; else what the host refuses. Then there is no file.
    pub fn keep(self) -> io::Result<()> {
        self.file.sync_all()?;
        match &self.hidden {
            None => link(&self.file, &self.target)?,
            Some(hidden) => rename(&hidden.path, &self.target)?,
        }
        sync_folder(folder_of(&self.target))
    }
}

/// Puts a file with these bytes, its owner's alone, in the place of what has the name, if anything has. Whatever ends the
/// process or the host, the name has all of the one or all of the other.
///
/// # Errors
/// What the host refuses; then what had the name has it still.
pub fn replace(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let (mut file, hidden) = Hidden::create(folder_of(target))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&hidden.path, target)?;
    sync_folder(folder_of(target))
}

/// A file in `folder` that has no name and goes when it is closed; only its owner may open it.
///
/// # Errors
/// What the host refuses.
pub fn nameless(folder: &Path) -> io::Result<File> {
    match open_nameless(folder)? {
        Some(file) => Ok(file),
        // The name goes with the second value, at once.
        None => Hidden::create(folder).map(|(file, _)| file),
    }
}

/// A file below a folder of this program's own, where it is seen by nobody else before the folder goes or is given
/// its place. Replaces what a former attempt has left.
///
/// # Errors
/// What the host refuses.
pub fn staged(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(true).mode(PRIVATE).open(path)
}

/// Nothing where the file system has no files without names.
fn open_nameless(folder: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = match rustix::fs::open(folder, flags, Mode::from_raw_mode(PRIVATE)) {
        Ok(file) => File::from(file),
        // By kernels without O_TMPFILE the folder itself is opened for writing.
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    // Without /proc there is no way to name it later.
    Ok(fs::symlink_metadata(own_path(&file)).is_ok().then_some(file))
}

fn own_path(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

fn link(file: &File, target: &Path) -> io::Result<()> {
    Ok(rustix::fs::linkat(CWD, own_path(file), CWD, target, AtFlags::SYMLINK_FOLLOW)?)
}

/// Gives a file its name where nothing has it.
fn rename(hidden: &Path, target: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, hidden, CWD, target, RenameFlags::NOREPLACE) {
        // A file system that knows no such renaming: a link is as good.
        Err(Errno::INVAL | Errno::NOSYS) => match rustix::fs::link(hidden, target) {
            Ok(()) => Ok(rustix::fs::unlink(hidden)?),
            // Nor links, as on FAT. Then nothing is better than a look before.
            Err(Errno::PERM | Errno::OPNOTSUPP) if fs::symlink_metadata(target).is_err() => {
                fs::rename(hidden, target)
            }
            Err(Errno::PERM | Errno::OPNOTSUPP) => Err(Errno::EXIST.into()),
            Err(errno) => Err(errno.into()),
        },
        answer => Ok(answer?),
    }
}

/// Brings the names in a folder to stable storage, where its file system can.
///
/// # Errors
/// What the host refuses.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Not every file system syncs folders, and one may be writable and not readable: the file is there all the same.
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOTTY | libc::EACCES)
            ) =>
        {
            Ok(())
        }
        answer => answer,
    }
}

/// A hidden name that goes with this.
#[derive(Debug)]
struct Hidden {
    path: PathBuf,
}

impl Hidden {
    fn create(folder: &Path) -> io::Result<(File, Hidden)> {
        loop {
            let number = RandomState::new().build_hasher().finish();
            let path = folder.join(format!("{HIDDEN}{number:016x}"));
            match File::options().read(true).write(true).create_new(true).mode(PRIVATE).open(&path) {
                Ok(file) => {
                    remember(&path);
                    return Ok((file, Hidden { path }));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // It has lost this name if it was kept.
        let _ = fs::remove_file(&self.path);
        forget(&self.path);
    }
}

/// Names that a signal's handler removes. They are never freed, as a handler may be reading them: one command makes
/// few files.
static NAMES: [AtomicPtr<c_char>; HIDDEN_MAX] = [const { AtomicPtr::new(null_mut()) }; HIDDEN_MAX];

fn remember(path: &Path) {
    let Ok(name) = CString::new(path.as_os_str().as_bytes()) else { return };
    let name = name.into_raw();
    let exchange = |slot: &AtomicPtr<c_char>| {
        slot.compare_exchange(null_mut(), name, Ordering::SeqCst, Ordering::SeqCst)
    };
    if NAMES.iter().any(|slot| exchange(slot).is_ok()) {
        endings::before_ending(remove_all);
    }
}

fn forget(path: &Path) {
    for slot in &NAMES {
        let name = slot.load(Ordering::SeqCst);
        // SAFETY: slots hold null or a name of `remember`, which is never freed.
        let is_it = !name.is_null()
            && unsafe { std::ffi::CStr::from_ptr(name) }.to_bytes() == path.as_os_str().as_bytes();
        if is_it {
            slot.store(null_mut(), Ordering::SeqCst);
        }
    }
}

/// Async-signal-safe.
fn remove_all() {
    for slot in &NAMES {
        let name = slot.load(Ordering::SeqCst);
        if !name.is_null() {
            // SAFETY: the name ends with a zero byte and is never freed (see `NAMES`).
            unsafe { libc::unlink(name) };
        }
    }
}

#[cfg(test)]
mod tests;
