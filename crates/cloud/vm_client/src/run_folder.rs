//! The folder in which running VMs are found by their names.

use std::io;
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

    /// Names of what has a socket here, in order. What is left of a VM that was killed is among them.
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
            let name = entry?.file_name();
            names.extend(name.to_str().and_then(run_folder::vm_name).map(str::to_owned));
        }
        names.sort_unstable();
        Ok(names)
    }
}
