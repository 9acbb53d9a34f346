//! Where the control socket of a running VM is found by the VM's name.

use std::ffi::OsString;
use std::path::PathBuf;

const ENDING: &str = ".sock";
const ROOT: u32 = 0;

/// The folder for sockets of the running VMs of the user with this number: below `YAGURA_DIR` if that is set; `/run/yagura`
/// for root; else the user's own run-time folder (XDG Base Directory Specification, `XDG_RUNTIME_DIR`), or, where there is
/// none (`su`, `cron`, containers), one below `/tmp`, which others may have made: who listens there looks whose it is, and who asks there looks who answers.
pub fn folder(variable: impl Fn(&str) -> Option<OsString>, user: u32) -> PathBuf {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = match (set("YAGURA_DIR"), user) {
        (Some(folder), _) => folder.join("run"),
        (None, ROOT) => PathBuf::from("/run/yagura"),
        // "All paths must be absolute": others are to be ignored.
        (None, _) => match set("XDG_RUNTIME_DIR").filter(|folder| folder.is_absolute()) {
            Some(folder) => folder.join("yagura"),
            None => PathBuf::from(format!("/tmp/yagura-{user}")),
        },
    };
    base.join("vms")
}

/// Name of the socket of the VM called `name`.
pub fn socket_name(name: &str) -> String {
    format!("{name}{ENDING}")
}

/// Name of the VM whose socket has this name.
pub fn vm_name(socket: &str) -> Option<&str> {
    socket.strip_suffix(ENDING).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_has_a_folder_of_his_own() {
        let at = |set: &[(&str, &str)], user| {
            let find =
                |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
            folder(find, user).to_str().unwrap().to_owned()
        };
        assert_eq!(at(&[("XDG_RUNTIME_DIR", "/run/user/0")], 0), "/run/yagura/vms");
        assert_eq!(at(&[("XDG_RUNTIME_DIR", "/run/user/7")], 7), "/run/user/7/yagura/vms");
        assert_eq!(at(&[("YAGURA_DIR", "/y"), ("XDG_RUNTIME_DIR", "/run/user/7")], 7), "/y/run/vms");
        for unfit in [&[][..], &[("XDG_RUNTIME_DIR", "")], &[("XDG_RUNTIME_DIR", "run")]] {
            assert_eq!(at(unfit, 7), "/tmp/yagura-7/vms");
        }
        assert_eq!(vm_name(&socket_name("web1")), Some("web1"));
        assert_eq!((vm_name(".sock"), vm_name("web1")), (None, None));
    }
}
