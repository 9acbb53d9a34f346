//! Unix sockets that have names: listening without stealing a living process's name or tripping over a dead one's, and
//! connecting.
//!
//! ```text
//! name ─ look ─┬─ nothing there ──────────────────► bind ─► listen
//!              ├─ a socket, nobody listens ─ unlink ──▲
//!              └─ somebody listens, or no socket ─► refused
//! ```

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, fchmod, fstat, open};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect as start_connecting,
    listen as start_listening, socket_with,
};

use crate::named_file::folder_of;

/// Clients that may wait to be accepted.
const BACKLOG: i32 = 16;

/// The socket's name in the file system; removed when dropped, unless it is another's by then.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    place: Place,
}

/// What has a name. While this is there, nothing else has its number.
#[derive(Debug)]
struct Place(OwnedFd);

impl Place {
    /// What has the name `path` now.
    fn of(path: &Path) -> rustix::io::Result<Place> {
        open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).map(Place)
    }

    fn is_socket(&self) -> bool {
        fstat(&self.0).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket)
    }

    /// Whether `path` still is its name.
    fn is_at(&self, path: &Path) -> bool {
        let number = |place: &Place| fstat(&place.0).map(|stat| (stat.st_dev, stat.st_ino));
        Place::of(path).is_ok_and(|now| number(&now).is_ok_and(|now| number(self) == Ok(now)))
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
        if self.place.is_at(&self.path) {
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
    /// An address has no room for such a name (unix(7)).
    #[error("a socket's path has at most 107 bytes, or the last part of a longer one 85; give a shorter one")]
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

/// A path as the kernel takes it for a socket's.
struct Address {
    kernel: SocketAddrUnix,
    /// The folder that it leads through.
    _folder: Option<OwnedFd>,
}

impl Address {
    /// A path that is longer than an address is led through a descriptor of its folder.
    fn of(path: &Path) -> rustix::io::Result<Address> {
        match SocketAddrUnix::new(path) {
            Err(Errno::NAMETOOLONG) => {}
            direct => return Ok(Address { kernel: direct?, _folder: None }),
        }
        let name = path.file_name().ok_or(Errno::NAMETOOLONG)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = open(folder_of(path), flags, Mode::empty())?;
        let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        Ok(Address { kernel: SocketAddrUnix::new(short)?, _folder: Some(folder) })
    }
}

/// Listens at `path`, which only this user may connect to, without blocking. A socket left behind by a dead process is
/// replaced; one that somebody listens at, or a path that is no socket, is an error.
///
/// # Errors
/// See [`ListenError`].
pub fn listen(path: &Path) -> Result<(UnixListener, SocketFile), ListenError> {
    let address = Address::of(path).map_err(|errno| match errno {
        Errno::NAMETOOLONG => ListenError::PathTooLong,
        errno => failed("making an address of the path")(errno),
    })?;
    remove_stale(path, &address)?;
    let socket = socket_of(SocketType::STREAM).map_err(failed("socket"))?;
    // The file takes its mode from the socket (unix(7) leaves it unsaid; Linux has always done so).
    fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(failed("fchmod"))?;
    bind(&socket, &address.kernel).map_err(|errno| match errno {
        Errno::ADDRINUSE => ListenError::InUse,
        errno => failed("bind")(errno),
    })?;
    let place = Place::of(path).map_err(failed("looking at the new socket"))?;
    let file = SocketFile { path: path.to_owned(), place };
    start_listening(&socket, BACKLOG).map_err(failed("listen"))?;
    Ok((socket.into(), file))
}

/// Connects to whoever listens at `path`. The stream does not block, nor does this: where too many wait to be accepted,
/// the kernel's answer is `EAGAIN`.
///
/// # Errors
/// Those of connect(2): `ENOENT` where nothing is, `ECONNREFUSED` where nobody listens any more.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    let address = Address::of(path)?;
    let socket = socket_of(SocketType::STREAM)?;
    start_connecting(&socket, &address.kernel)?;
    Ok(socket.into())
}

/// Whether somebody listens at `path`, who is not disturbed by the question.
///
/// # Errors
/// The path cannot be an address.
pub fn is_listened_at(path: &Path) -> io::Result<bool> {
    Ok(who_listens(&Address::of(path)?)? == Listening::Somebody)
}

fn socket_of(kind: SocketType) -> rustix::io::Result<OwnedFd> {
    socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listening {
    Somebody,
    /// There is a socket, and whoever listened at it is gone.
    NobodyAnyMore,
    /// Nothing is there.
    Nothing,
}

/// A socket of another type asks without disturbing a listener: that one answers EPROTOTYPE. Only a refusal says that
/// nobody listens: a socket that may not be opened can be somebody's.
fn who_listens(address: &Address) -> rustix::io::Result<Listening> {
    Ok(match start_connecting(&socket_of(SocketType::DGRAM)?, &address.kernel) {
        Err(Errno::CONNREFUSED) => Listening::NobodyAnyMore,
        Err(Errno::NOENT) => Listening::Nothing,
        _ => Listening::Somebody,
    })
}

/// Removes a socket that nobody listens on.
fn remove_stale(path: &Path, address: &Address) -> Result<(), ListenError> {
    let found = match Place::of(path) {
        Ok(found) if found.is_socket() => found,
        Ok(_) => return Err(ListenError::NotASocket),
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(failed("looking at what is there")(errno)),
    };
    match who_listens(address).map_err(failed("socket"))? {
        Listening::NobodyAnyMore => {}
        Listening::Nothing => return Ok(()),
        Listening::Somebody => return Err(ListenError::InUse),
    }
    // Another process may have replaced it since the look: then it is that one's.
    if !found.is_at(path) {
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
        assert!(connect(&long).is_err() && is_listened_at(&long).is_err());
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

    #[test]
    fn a_folder_may_be_deeper_than_an_address_is_long() {
        let folder = Folder::new("deep");
        let deep = folder.0.join("d".repeat(100)).join("e".repeat(100));
        fs::create_dir_all(&deep).unwrap();
        let path = deep.join("s");
        assert!(!is_listened_at(&path).unwrap());
        let (listener, file) = listen(&path).unwrap();
        assert!(is_listened_at(&path).unwrap() && path.exists());
        assert!(matches!(listen(&path), Err(ListenError::InUse)));
        connect(&path).unwrap();
        listener.accept().unwrap();
        drop(file);
        assert!(!path.exists());
        drop(listener);
        assert_eq!(connect(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn whoever_connects_is_told_what_is_there() {
        let folder = Folder::new("connect");
        let path = folder.0.join("s");
        drop(UnixListener::bind(&path).unwrap());
        assert_eq!(connect(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(!is_listened_at(&path).unwrap());
        let (_listener, _file) = listen(&path).unwrap();
        let waiting: Vec<io::Result<UnixStream>> = (0..2 * BACKLOG).map(|_| connect(&path)).collect();
        let refused = waiting.into_iter().find_map(Result::err).expect("the queue has a bound");
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
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
