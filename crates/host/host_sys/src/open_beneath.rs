//! Opening files by names that come from strangers.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};

/// Opens the regular file `name` below `folder` for reading: no symbolic link is followed, nothing above the folder
/// is reached, and no pipe is waited for (openat2(2), `RESOLVE_BENEATH`, Linux 5.6).
///
/// # Errors
/// The kernel's answer: `EXDEV` for a name that leads out of the folder, `ELOOP` for a symbolic link on the way;
/// `InvalidInput` for what is no regular file.
pub fn open_beneath(folder: impl AsFd, name: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let file = openat2(folder, name, flags, Mode::empty(), resolve)?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok(File::from(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn nothing_outside_is_reached() {
        let root = std::env::temp_dir().join(format!("open-beneath-{}", std::process::id()));
        std::fs::create_dir_all(root.join("inside/deeper")).unwrap();
        std::fs::write(root.join("inside/deeper/file"), "words").unwrap();
        std::fs::write(root.join("secret"), "no").unwrap();
        std::os::unix::fs::symlink("deeper", root.join("inside/link")).unwrap();
        std::os::unix::fs::symlink("../secret", root.join("inside/escape")).unwrap();
        let folder = File::open(root.join("inside")).unwrap();
        let errno = |name: &str| {
            let error = open_beneath(&folder, Path::new(name)).unwrap_err();
            error.raw_os_error().map(Errno::from_raw_os_error)
        };
        assert!(open_beneath(&folder, Path::new("deeper/file")).is_ok());
        assert!(open_beneath(&folder, Path::new("deeper/../deeper/file")).is_ok());
        let absolute = root.join("secret");
        for name in ["../secret", absolute.to_str().unwrap(), "deeper/../../secret"] {
            assert_eq!(errno(name), Some(Errno::XDEV), "{name}");
        }
        for name in ["link/file", "escape"] {
            assert_eq!(errno(name), Some(Errno::LOOP), "{name}");
        }
        assert_eq!(errno("missing"), Some(Errno::NOENT));
        assert_eq!(errno("deeper"), None, "a folder is no regular file");
        std::fs::remove_dir_all(root).unwrap();
    }
}
