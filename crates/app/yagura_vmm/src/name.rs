//! The name of a VM, which is its own for as long as it runs: its control socket in the run folder, by which it is found.

use anyhow::{Context, bail};
use host_sys::unix_socket::ListenError;
use messages::in_words;
use vm_control::run_folder;
use vm_runtime::{ControlError, ControlSocket};
use vm_spec::{VmName, VmSpec};

use crate::run::advice;
use crate::say::say;

/// VMs of one default name.
const NAMESAKES_MAX: u32 = 1000;

/// Takes the VM's name for this process. Where another VM has it and `another_will_do`, the VM gets a free one that is
/// like it.
///
/// Nothing where there is no folder for running VMs, of which a person is told: the VM runs all the same.
///
/// # Errors
/// A VM of that name runs, or something is there that is not ours, or this process has no descriptors left.
pub(crate) fn claim(spec: &mut VmSpec, another_will_do: bool) -> anyhow::Result<Option<ControlSocket>> {
    let user = rustix::process::geteuid().as_raw();
    let folder = run_folder::folder(|name| std::env::var_os(name), user);
    let wanted = spec.name.clone();
    for name in names(&wanted, if another_will_do { NAMESAKES_MAX } else { 1 }) {
        let error = match ControlSocket::claim(&folder, name.as_str()) {
            Ok(socket) => {
                if name != wanted {
                    say(&format!("VM {wanted} runs already; this one is {name}"));
                }
                spec.name = name;
                return Ok(Some(socket));
            }
            Err(error) if another_will_do && error.is_taken() => continue,
            Err(error) => error,
        };
        match &error {
            ControlError::Listen { source: ListenError::InUse, .. } => {
                bail!("{}", runs_already(&name))
            }
            ControlError::Listen { source: ListenError::NotASocket, .. } => {
                return Err(error).with_context(|| format!("VM {name}"));
            }
            _ => {}
        }
        let error = anyhow::Error::from(error);
        let advice = advice(&error);
        if !advice.is_empty() {
            bail!("VM {name}: {}{advice}", in_words(&*error));
        }
        say(&format!("VM {name}: warning: it cannot be found by its name: {}", in_words(&*error)));
        return Ok(None);
    }
    bail!("VM {wanted}: {NAMESAKES_MAX} VMs of such names run; give this one a name with --name")
}

/// Said where a VM is to have the name of one that runs.
pub fn runs_already(name: &VmName) -> String {
    format!("VM {name} runs already; --name gives another one a name of its own")
}

/// The name, and then others that are like it, `most` in all.
fn names(wanted: &VmName, most: u32) -> impl Iterator<Item = VmName> {
    let like = move |number: u32| {
        let ending = format!("-{number}");
        let room = VmName::CHARS_MAX - ending.len();
        let start = &wanted.as_str()[..wanted.as_str().len().min(room)];
        VmName::like(&format!("{start}{ending}"))
    };
    std::iter::once(wanted.clone()).chain((2..=most).filter_map(like))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namesakes_are_numbered() {
        let texts = |name: &str, most| {
            let names: Vec<String> = names(&name.parse().unwrap(), most).map(String::from).collect();
            names
        };
        assert_eq!(texts("vm", 3), ["vm", "vm-2", "vm-3"]);
        assert_eq!(texts("vm", 1), ["vm"]);
        let long = "x".repeat(63);
        assert_eq!(texts(&long, 2)[1], format!("{}-2", "x".repeat(61)));
        let hyphens = format!("{}-y", "x".repeat(60));
        assert_eq!(texts(&hyphens, 2)[1], format!("{}-2", "x".repeat(60)));
        assert_eq!(texts(&long, NAMESAKES_MAX).len(), NAMESAKES_MAX as usize);
    }
}
