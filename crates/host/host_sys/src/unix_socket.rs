//! Listening unix sockets that neither steal a living process's path nor trip over a dead one's.

use std::fs::{self, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen as start_listening,
    socket_with,
};

/// Clients that may wait to be accepted.
const BACKLOG: i32 = 16;

/// The socket's name in the file system; removed when dropped, unless it is another's by then.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    file: FileId,
}

/// Device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId(u64, u64);

impl FileId {
    fn of(metadata: &Metadata) -> FileId {
        FileId(metadata.dev(), metadata.ino())
    }
}

impl SocketFile {
    /// As it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| FileId::of(&found) == self.file);
        if ours {
            // Somebody may have removed it meanwhile; there is nobody to tell of anything else.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Why a path cannot be listened at.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process listens there.
    #[error("another process listens there")]
    InUse,
    /// Something else has that name. It is left alone.
    #[error("a file of that name is there that is no socket")]
    NotASocket,
    /// An address has no room for such a path (unix(7)).
    #[error("a socket's path has at most 107 bytes; give a shorter one")]
    PathTooLong,
    /// The host refuses.
    #[error("{operation} failed")]
    Io {
        /// The operation that failed.
        operation: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

fn failed(operation: &'static str) -> impl Fn(Errno) -> ListenError {
    move |errno| ListenError::Io { operation, source: errno.into() }
}

/// Listens at `path`, which only this user may connect to, without blocking. A socket left behind by a dead process is
/// replaced; one that somebody listens at, or a path that is no socket, is an error.
///
/// # Errors
/// See [`ListenError`].
pub fn listen(path: &Path) -> Result<(UnixListener, SocketFile), ListenError> {
    let address = SocketAddrUnix::new(path).map_err(|errno| match errno {
        Errno::NAMETOOLONG => ListenError::PathTooLong,
        errno => failed("making an address of the path")(errno),
    })?;
    remove_stale(path, &address)?;
    let socket = socket_of(SocketType::STREAM)?;
    // The file takes its mode from the socket (unix(7) leaves it unsaid; Linux has always done so).
    fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(failed("fchmod"))?;
    bind(&socket, &address).map_err(|errno| match errno {
        Errno::ADDRINUSE => ListenError::InUse,
        errno => failed("bind")(errno),
    })?;
    let looked = fs::symlink_metadata(path);
    let found = looked.map_err(|source| ListenError::Io { operation: "stat", source })?;
    let file = SocketFile { path: path.to_owned(), file: FileId::of(&found) };
    start_listening(&socket, BACKLOG).map_err(failed("listen"))?;
    Ok((socket.into(), file))
}

fn socket_of(kind: SocketType) -> Result<OwnedFd, ListenError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, kind, flags, None).map_err(failed("socket"))
}

/// Removes a socket that nobody listens on.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), ListenError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => FileId::of(&found),
        Ok(_) => return Err(ListenError::NotASocket),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(ListenError::Io { operation: "stat", source }),
    };
    // A socket of another type asks without disturbing a listener: that one answers EPROTOTYPE. Only a refusal says that
    // nobody listens: a socket that may not be opened can be somebody's.
    match connect(&socket_of(SocketType::DGRAM)?, address) {
        Err(Errno::CONNREFUSED) => {}
        Err(Errno::NOENT) => return Ok(()),
        _ => return Err(ListenError::InUse),
    }
    // Another process may have replaced it since the look: then it is that one's.
    if !fs::symlink_metadata(path).is_ok_and(|now| FileId::of(&now) == found) {
        return Err(ListenError::InUse);
    }
    fs::remove_file(path).map_err(|source| ListenError::Io { operation: "removing a stale socket", source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("yagura-socket-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let folder = Folder::new("dead");
        let path = folder.0.join("s");
        drop(UnixListener::bind(&path).unwrap());
        let (listener, file) = listen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(listen(&path), Err(ListenError::InUse)));
        drop((listener, file));
        assert!(!path.exists());
        fs::write(&path, "kept").unwrap();
        assert!(matches!(listen(&path), Err(ListenError::NotASocket)));
        assert_eq!(fs::read(&path).unwrap(), b"kept");
        let long = folder.0.join("x".repeat(200));
        assert!(matches!(listen(&long), Err(ListenError::PathTooLong)));
        assert!(matches!(listen(&folder.0.join("none/s")), Err(ListenError::Io { operation: "bind", .. })));
    }

    #[test]
    fn asking_whether_somebody_listens_disturbs_nobody() {
        let folder = Folder::new("asked");
        let path = folder.0.join("s");
        let (listener, _file) = listen(&path).unwrap();
        assert!(matches!(listen(&path), Err(ListenError::InUse)));
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "nobody has come");
        UnixStream::connect(&path).unwrap();
        listener.accept().unwrap();
    }

    /// What others may have put in the place of a socket that is still listened on.
    #[test]
    fn what_another_has_put_there_stays() {
        let folder = Folder::new("another");
        let path = folder.0.join("s");
        type Put = fn(&Path) -> Option<Box<dyn std::any::Any>>;
        let others: [(&str, Put); 4] = [
            ("a socket", |path| Some(Box::new(UnixListener::bind(path).unwrap()))),
            ("a datagram socket", |path| Some(Box::new(UnixDatagram::bind(path).unwrap()))),
            ("a file", |path| {
                fs::write(path, "kept").unwrap();
                None
            }),
            ("a link", |path| {
                std::os::unix::fs::symlink("nowhere", path).unwrap();
                None
            }),
        ];
        for (what, put) in others {
            let ours = listen(&path).unwrap();
            // Renamed, not removed: an inode that is in use is nobody else's.
            fs::rename(&path, folder.0.join("ours")).unwrap();
            let theirs = put(&path);
            drop(ours);
            assert!(path.symlink_metadata().is_ok(), "{what} was removed");
            drop(theirs);
            fs::remove_file(&path).unwrap();
            fs::remove_file(folder.0.join("ours")).unwrap();
        }
    }
}
