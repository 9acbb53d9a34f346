//! Sockets that are listened on, before anybody serves them.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use host_sys::named_file::folder_of;
use host_sys::unix_socket::{self, ListenError, SocketFile};
use rustix::fs::{FlockOperation, flock};
use vm_control::run_folder;

use super::ControlError;

/// A control socket. Its name is this VM's until it is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    // Goes first: a socket that nobody listens on is anybody's.
    pub(super) file: SocketFile,
    pub(super) listener: UnixListener,
}

impl ControlSocket {
    /// Listens at `path`, which only this user may open.
    ///
    /// # Errors
    /// Another process listens there, something else is there, or the host refuses.
    pub fn open(path: &Path) -> Result<ControlSocket, ControlError> {
        let failed = |source| ControlError::Listen { path: path.display().to_string(), source };
        let (listener, file) = unix_socket::listen(path).map_err(failed)?;
        Ok(ControlSocket { file, listener })
    }

    /// Takes `name` for this VM: listens in the run folder at `folder`, which is made if it is not there. What a VM that
    /// was killed has left under this name is replaced.
    ///
    /// # Errors
    /// As [`ControlSocket::open`], or the folder cannot be made.
    pub fn claim(folder: &Path, name: &str) -> Result<ControlSocket, ControlError> {
        let failed = |source| ControlError::RunFolder { path: folder.display().to_string(), source };
        let opened = private_folder(folder).map_err(failed)?;
        // One at a time: of two that find a dead socket, the second must not take away what the first has put there.
        flock(&opened, FlockOperation::LockExclusive).map_err(|errno| failed(errno.into()))?;
        ControlSocket::open(&folder.join(run_folder::socket_name(name)))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }
}

/// What others than this user may do with a folder.
const OTHERS: u32 = 0o077;

/// A folder of this user's alone.
fn private_folder(path: &Path) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let user = rustix::process::geteuid();
    let folder = File::open(path)?;
    let metadata = folder.metadata()?;
    let parent = folder_of(path);
    // Where the parent is a link, whoever made that can turn it elsewhere.
    for owner in [parent.symlink_metadata()?.uid(), parent.metadata()?.uid(), metadata.uid()] {
        if owner != user.as_raw() && !user.is_root() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
        }
    }
    if metadata.mode() & OTHERS != 0 && metadata.uid() == user.as_raw() {
        folder.set_permissions(PermissionsExt::from_mode(0o700))?;
    }
    Ok(folder)
}

impl ControlError {
    /// Whether it is another VM that is in the way, or a file that is not ours.
    pub fn is_taken(&self) -> bool {
        matches!(self, ControlError::Listen { source: ListenError::InUse | ListenError::NotASocket, .. })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Barrier;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn names_are_taken_once_and_dead_ones_again() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("run/vms");
        let first = ControlSocket::claim(&run, "web1").unwrap();
        assert_eq!(first.path(), run.join("web1.sock"));
        assert_eq!([mode(&folder.path().join("run")), mode(&run), mode(first.path())], [0o700, 0o700, 0o600]);
        assert!(ControlSocket::claim(&run, "web1").unwrap_err().is_taken());
        drop(ControlSocket::claim(&run, "web2").unwrap());
        drop(UnixListener::bind(run.join("web2.sock")).unwrap());
        let second = ControlSocket::claim(&run, "web2").unwrap();
        drop((first, second));
        assert_eq!(fs::read_dir(&run).unwrap().count(), 0);
    }

    #[test]
    fn what_is_somebody_else_s_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("vms");
        fs::create_dir(&run).unwrap();
        fs::set_permissions(&run, PermissionsExt::from_mode(0o777)).unwrap();
        fs::write(run.join("a.sock"), "kept").unwrap();
        fs::create_dir(run.join("b.sock")).unwrap();
        std::os::unix::fs::symlink("nowhere", run.join("c.sock")).unwrap();
        for name in ["a", "b", "c"] {
            assert!(ControlSocket::claim(&run, name).unwrap_err().is_taken(), "{name}");
        }
        assert_eq!(mode(&run), 0o700, "nobody else puts anything there");
        assert_eq!(fs::read_to_string(run.join("a.sock")).unwrap(), "kept");
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = ControlSocket::claim(&file.join("vms"), "a").unwrap_err();
        assert!(matches!(error, ControlError::RunFolder { .. }) && !error.is_taken(), "{error}");
    }

    /// Of many that find a dead socket at once, one has its name.
    #[test]
    fn a_dead_socket_has_one_heir() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..20 {
            drop(UnixListener::bind(folder.path().join("web1.sock")).unwrap());
            let barrier = Barrier::new(8);
            let claims: Vec<_> = std::thread::scope(|scope| {
                let claim = || {
                    barrier.wait();
                    ControlSocket::claim(folder.path(), "web1")
                };
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(claim)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let heirs: Vec<&ControlSocket> = claims.iter().flatten().collect();
            assert_eq!(heirs.len(), 1);
            assert!(unix_socket::is_listened_at(heirs[0].path()).unwrap());
        }
    }
}
