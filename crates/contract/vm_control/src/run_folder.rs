//! Where the control socket of a running VM is found by the VM's name.

use std::ffi::OsString;
use std::path::PathBuf;

const ENDING: &str = ".sock";

/// The folder for sockets of running VMs: below `YAGURA_DIR` if that is set; `/run/yagura` for root; else the user's own
/// run-time folder (XDG Base Directory Specification, `XDG_RUNTIME_DIR`). `None` where there is no such folder.
pub fn folder(variable: impl Fn(&str) -> Option<OsString>, is_root: bool) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = match set("YAGURA_DIR") {
        Some(folder) => folder.join("run"),
        None if is_root => PathBuf::from("/run/yagura"),
        None => set("XDG_RUNTIME_DIR")?.join("yagura"),
    };
    Some(base.join("vms"))
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
        let at = |set: &[(&str, &str)], is_root| {
            let find =
                |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
            folder(find, is_root)
        };
        assert_eq!(at(&[("XDG_RUNTIME_DIR", "/run/user/0")], true), Some("/run/yagura/vms".into()));
        assert_eq!(at(&[("XDG_RUNTIME_DIR", "/run/user/7")], false), Some("/run/user/7/yagura/vms".into()));
        assert_eq!(at(&[("YAGURA_DIR", "/y")], false), Some("/y/run/vms".into()));
        assert_eq!(at(&[("XDG_RUNTIME_DIR", "")], false), None);
        assert_eq!(vm_name(&socket_name("web1")), Some("web1"));
        assert_eq!((vm_name(".sock"), vm_name("web1")), (None, None));
    }
}
