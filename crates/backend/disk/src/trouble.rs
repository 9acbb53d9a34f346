//! What has befallen a disk on its host, told from the error of a request: for words to a person, and for who decides
//! whether trying again makes sense.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;

/// Kinds of trouble, each worth a line of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trouble {
    /// The file system, or a quota on it, is full.
    NoRoom,
    /// The file may not become longer: `ulimit -f`, or a limit of the file system.
    TooLong,
    /// It may not be written any more: the file system is read-only.
    ReadOnly,
    /// The file or what it lies on is gone: removed, a server lost, a device pulled.
    Vanished,
    /// The file has become shorter than the disk.
    CutShort,
    /// The medium under it fails.
    Medium,
    /// The host has no memory, threads or descriptors.
    NoMeans,
    /// The host lost writes that it had accepted: no later request brings them back.
    LostWrites,
    /// Anything else.
    Other,
}

/// A sync has failed. Its pages count as clean from then on, and the next sync succeeds without them.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct SyncFailed(io::Error);

/// Marks an error as that of a sync.
pub(crate) fn sync_failed(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), SyncFailed(error))
}

/// The error of a transfer that stops before its end: the file has shrunk since it was opened.
pub(crate) fn ended_early() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the file has become shorter than the disk")
}

impl Trouble {
    /// What a request's error says.
    pub fn of(error: &io::Error) -> Trouble {
        if error.get_ref().is_some_and(|inner| inner.is::<SyncFailed>()) {
            return Trouble::LostWrites;
        }
        match Errno::from_io_error(error) {
            Some(Errno::NOSPC | Errno::DQUOT) => Trouble::NoRoom,
            Some(Errno::FBIG) => Trouble::TooLong,
            Some(Errno::ROFS | Errno::PERM | Errno::ACCESS | Errno::BADF) => Trouble::ReadOnly,
            Some(
                Errno::STALE
                | Errno::NODEV
                | Errno::NXIO
                | Errno::NOENT
                | Errno::NOTCONN
                | Errno::REMOTEIO
                | Errno::SHUTDOWN
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::TIMEDOUT,
            ) => Trouble::Vanished,
            Some(Errno::IO | Errno::ILSEQ | Errno::UCLEAN | Errno::BADMSG) => Trouble::Medium,
            Some(Errno::NOMEM | Errno::AGAIN | Errno::MFILE | Errno::NFILE | Errno::NOBUFS) => {
                Trouble::NoMeans
            }
            Some(_) => Trouble::Other,
            None if error.kind() == io::ErrorKind::UnexpectedEof => Trouble::CutShort,
            None if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Trouble::ReadOnly,
            None => Trouble::Other,
        }
    }

    /// Whether a request that failed for this reason can be tried again without a loss.
    pub fn can_pass(self) -> bool {
        self != Trouble::LostWrites
    }

    /// What is wrong, and after a semicolon what to do, where something can be done.
    pub fn in_words(self) -> &'static str {
        match self {
            Trouble::NoRoom => "no room is left on the file system that it lies on; make room there",
            Trouble::TooLong => {
                "its file may not become longer; raise 'ulimit -f', or move it to another file system"
            }
            Trouble::ReadOnly => {
                "it cannot be written any more; see whether its file system has become read-only"
            }
            Trouble::Vanished => "its file is gone, or the server or device that it lies on; bring that back",
            Trouble::CutShort => "its file has become shorter than the disk; give it its length again",
            Trouble::Medium => {
                "the device that it lies on fails; see the kernel's log, and save what can be read"
            }
            Trouble::NoMeans => "the host has no memory, threads or descriptors left for its requests",
            Trouble::LostWrites => {
                "the host has lost writes that it had accepted; check the guest's file systems before the disk is used on"
            }
            Trouble::Other => "a request to its file failed",
        }
    }
}

/// How a file was when it was opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileHealth {
    had_name: bool,
}

impl FileHealth {
    /// Looks at a file that has just been opened.
    pub(crate) fn of(file: &File) -> FileHealth {
        // What cannot be looked at now is not looked at later.
        let had_name = file.metadata().is_ok_and(|metadata| metadata.nlink() > 0);
        FileHealth { had_name }
    }

    /// What has befallen it since, that no request shows: it was removed, or it is shorter than the `size_bytes` that it
    /// has to have, if its length is to be looked at.
    pub(crate) fn trouble_of(self, file: &File, size_bytes: Option<u64>) -> Option<Trouble> {
        let metadata = file.metadata().ok()?;
        if self.had_name && metadata.nlink() == 0 {
            return Some(Trouble::Vanished);
        }
        let is_short = metadata.is_file() && size_bytes.is_some_and(|size_bytes| metadata.len() < size_bytes);
        is_short.then_some(Trouble::CutShort)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart() {
        let of = |errno: Errno| Trouble::of(&io::Error::from(errno));
        let table = [
            (Errno::NOSPC, Trouble::NoRoom),
            (Errno::DQUOT, Trouble::NoRoom),
            (Errno::FBIG, Trouble::TooLong),
            (Errno::ROFS, Trouble::ReadOnly),
            (Errno::PERM, Trouble::ReadOnly),
            (Errno::STALE, Trouble::Vanished),
            (Errno::NXIO, Trouble::Vanished),
            (Errno::NODEV, Trouble::Vanished),
            (Errno::IO, Trouble::Medium),
            (Errno::NOMEM, Trouble::NoMeans),
            (Errno::AGAIN, Trouble::NoMeans),
            (Errno::INVAL, Trouble::Other),
        ];
        for (errno, trouble) in table {
            assert_eq!(of(errno), trouble, "{errno}");
            assert!(trouble.can_pass());
            assert_eq!(Trouble::of(&sync_failed(errno.into())), Trouble::LostWrites, "{errno}, of a sync");
        }
        assert_eq!(Trouble::of(&ended_early()), Trouble::CutShort);
        assert_eq!(Trouble::of(&io::ErrorKind::ReadOnlyFilesystem.into()), Trouble::ReadOnly);
        assert_eq!(Trouble::of(&io::Error::other("words")), Trouble::Other);
        assert!(!Trouble::LostWrites.can_pass());
    }

    #[test]
    fn a_file_that_goes_or_shrinks_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        std::fs::write(&path, [0; 4096]).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let health = FileHealth::of(&file);
        assert_eq!(health.trouble_of(&file, Some(4096)), None);
        file.set_len(8192).unwrap();
        assert_eq!(health.trouble_of(&file, Some(4096)), None);
        assert_eq!(health.trouble_of(&file, Some(8192)), None);
        file.set_len(4096).unwrap();
        assert_eq!(health.trouble_of(&file, Some(8192)), Some(Trouble::CutShort));
        assert_eq!(health.trouble_of(&file, None), None);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(health.trouble_of(&file, Some(4096)), Some(Trouble::Vanished));
        // It never had a name that could be taken from it.
        assert_eq!(FileHealth::of(&file).trouble_of(&file, Some(4096)), None);
    }
}
