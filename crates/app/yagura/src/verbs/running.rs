//! The VMs that run here, by their names.

use std::path::PathBuf;

use messages::{did_you_mean, in_words};
use vm_client::{ClientError, RunFolder, VmClient};
use vm_control::{FailureClass, run_folder};
use vm_spec::VmName;

use super::failure::Failed;

/// Names that are told where none is like what was typed.
const TOLD_MAX: usize = 8;

/// The running VMs of whoever asks.
pub struct Running {
    folder: RunFolder,
    /// Where that is.
    path: PathBuf,
}

impl Running {
    /// Those of this user.
    pub fn here() -> Running {
        let user = rustix::process::geteuid().as_raw();
        Running::at(run_folder::folder(|name| std::env::var_os(name), user))
    }

    fn at(path: PathBuf) -> Running {
        Running { folder: RunFolder::new(&path), path }
    }

    /// The VM of this name, whether it runs or not.
    pub fn client(&self, name: &VmName) -> VmClient {
        self.folder.client(name.as_str())
    }

    /// Names that VMs have or have left behind, in order.
    ///
    /// # Errors
    /// The folder is there and cannot be read.
    pub fn known(&self) -> std::io::Result<Vec<VmName>> {
        Ok(self.folder.names()?.into_iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Names of the VMs that run, in order.
    fn names(&self) -> std::io::Result<Vec<VmName>> {
        let lives = |name: &VmName| self.client(name).is_listening().unwrap_or(false);
        Ok(self.known()?.into_iter().filter(lives).collect())
    }

    /// Why the VM of this name did not do what it was asked.
    pub fn failed(&self, name: &VmName, error: &ClientError) -> Failed {
        let line = match error {
            ClientError::Refused(failure) if failure.class == FailureClass::NotFound => {
                let line = format!("VM {name} was started by a version of yagura that cannot do that");
                // The VM is there.
                return Failed { class: FailureClass::Host, line };
            }
            ClientError::Gone(_) => format!("VM {name} is not running: its process was killed"),
            ClientError::NotRunning(_) => format!("no VM {name} is running{}", self.instead(name)),
            ClientError::Silent(_) => format!("VM {name} does not answer"),
            error => format!("VM {name}: {}", in_words(error)),
        };
        Failed { class: error.class(), line }
    }

    /// What was probably meant, or what there is.
    fn instead(&self, name: &VmName) -> String {
        // What cannot be read is no help, and no reason for another complaint.
        let names = self.names().unwrap_or_default();
        let meant = did_you_mean(name.as_str(), names.iter().map(VmName::as_str));
        match names.len() {
            _ if !meant.is_empty() => meant,
            0 => format!("; none is in {}", self.path.display()),
            count => {
                let told: Vec<&str> = names.iter().take(TOLD_MAX).map(VmName::as_str).collect();
                let more = if count > TOLD_MAX { ", ..." } else { "" };
                format!("; there are {}{more}", told.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use super::*;

    fn failed(folder: &Path, name: &str) -> Failed {
        let running = Running::at(folder.to_owned());
        let name = name.parse().unwrap();
        let error = running.client(&name).status().unwrap_err();
        running.failed(&name, &error)
    }

    #[test]
    fn who_does_not_run_is_told_with_who_does() {
        let folder = tempfile::tempdir().unwrap();
        let said = |name: &str| {
            let failed = failed(folder.path(), name);
            assert_eq!(failed.class, FailureClass::NotFound);
            failed.line
        };
        let none = format!("no VM web is running; none is in {}", folder.path().display());
        assert_eq!(said("web"), none);
        let listen = |name: &str| UnixListener::bind(folder.path().join(format!("{name}.sock"))).unwrap();
        let _living: Vec<_> = ["web1", "db", "Not a name", "x y"].map(listen).into();
        drop(listen("dead"));
        assert_eq!(said("web"), "no VM web is running; did you mean 'web1'?");
        assert_eq!(said("mail-server"), "no VM mail-server is running; there are db, web1");
        assert_eq!(said("dead"), "VM dead is not running: its process was killed");
        let _more: Vec<_> = (10..20).map(|number| listen(&format!("z{number}"))).collect();
        let many = said("mail-server");
        assert!(many.ends_with("z14, z15, ..."), "{many}");
    }
}
