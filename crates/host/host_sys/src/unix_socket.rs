//! Listening unix sockets that neither steal a living process's path nor trip over a dead one's.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::process::umask;

/// The socket's name in the file system; removed when dropped.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have removed it already: then there is nothing to do.
        let _ = fs::remove_file(&self.path);
    }
}

/// Listens at `path`, which only this user may connect to. A socket left behind by a dead process is
/// replaced; one that somebody answers at, or a path that is no socket, is an error.
///
/// Changes the process's umask for a moment: call it before other threads create files.
pub fn listen(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path exists and is not a socket"));
        }
        // Only a refusal says that nobody listens: a socket that may not be opened can be somebody's.
        Ok(_) => match UnixStream::connect(path) {
            Ok(_) => return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)?,
            Err(error) => return Err(error),
        },
        Err(_) => {}
    }
    let before = umask(Mode::RWXG | Mode::RWXO);
    let listener = UnixListener::bind(path);
    umask(before);
    Ok((listener?, SocketFile { path: path.to_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let folder = std::env::temp_dir().join(format!("yagura-socket-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("s");
        drop(UnixListener::bind(&path).unwrap());
        let (listener, file) = listen(&path).unwrap();
        assert_eq!(listen(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop((listener, file));
        assert!(!path.exists());
        fs::write(&path, "kept").unwrap();
        assert_eq!(listen(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"kept");
        fs::remove_dir_all(&folder).unwrap();
    }
}
