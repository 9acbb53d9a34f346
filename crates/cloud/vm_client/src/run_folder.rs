//! The folder in which running VMs are found by their names.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use vm_control::run_folder;

use crate::VmClient;

/// The control sockets of this user's running VMs.
#[derive(Clone, Debug)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// The folder at `path`, which need not exist.
    pub fn new(path: &Path) -> RunFolder {
        RunFolder { path: path.to_owned() }
    }

    /// Where the VM called `name` listens while it runs.
    pub fn client(&self, name: &str) -> VmClient {
        VmClient::new(&self.path.join(run_folder::socket_name(name)))
    }

    /// Names of what has a socket here, in order. What is left of a VM that was killed is among them; what is no socket is
    /// somebody else's.
    ///
    /// # Errors
    /// The folder is there and cannot be read.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            // What is gone since the folder was read is no socket either.
            if !entry.file_type().is_ok_and(|kind| kind.is_socket()) {
                continue;
            }
            let name = entry.file_name();
            names.extend(name.to_str().and_then(run_folder::vm_name).map(str::to_owned));
        }
        names.sort_unstable();
        Ok(names)
    }
}
