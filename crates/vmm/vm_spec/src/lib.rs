//! What a VM is to consist of, validated once: after a [`VmSpec`] exists, nothing is checked again.
//!
//! Text as typed by a person (command line, configuration file) becomes these types by [`FromStr`]; each
//! error is one line that names what was typed and what would be right. Nothing here touches the host: that
//! a file exists or an interface is free is found out when it is opened.

mod boot;
mod console;
mod disk;
mod file_mode;
mod name;
mod net;
mod options;
mod size;

pub use boot::{BootProtocol, ModuleSpec};
pub use console::ConsoleSpec;
pub use disk::{DiskFormat, DiskSerial, DiskSpec, OnError};
pub use file_mode::FileMode;
pub use name::VmName;
pub use net::{MacAddress, NetSpec};
pub use options::{names_with_commas, with_doubled_commas};
pub use size::{CpuCount, DiskSize, MemorySize, cluster_bytes};

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use arch_model::x86_64::CpuModel;

/// A value that a person typed and that cannot be used: what, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadValue(pub String);

/// Most disks or network cards of one VM: with the host bridge, consoles and entropy they fit on one bus.
pub const MAX_DEVICES_OF_A_KIND: usize = 12;

/// One virtual machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmSpec {
    /// Shown by `ps` and used in messages.
    pub name: VmName,
    /// bzImage, ELF file, Multiboot image, or a unified kernel image with one of them.
    pub kernel: PathBuf,
    /// How it is entered.
    pub boot_protocol: BootProtocol,
    /// Initial RAM disks, which become one in this order, behind those of a unified kernel image.
    pub initrds: Vec<PathBuf>,
    /// Boot modules, in the order in which the kernel finds them, behind the initial RAM disks.
    pub modules: Vec<ModuleSpec>,
    /// Kernel command line; `None` gets that of a unified kernel image, or else one that fits console and disks.
    pub cmdline: Option<String>,
    /// vCPUs.
    pub cpus: CpuCount,
    /// RAM.
    pub memory: MemorySize,
    /// Whether ksmd may merge this VM's pages with equal ones.
    pub merge: bool,
    /// Disks, in the order in which the guest sees them.
    pub disks: Vec<DiskSpec>,
    /// Network cards, in the order in which the guest sees them.
    pub nets: Vec<NetSpec>,
    /// Where COM1 leads.
    pub console: ConsoleSpec,
    /// Where a virtio console leads, for a guest that is to have one besides COM1.
    pub virtio_console: Option<ConsoleSpec>,
    /// What the guest is told it runs on; `None` is the highest level that the engine offers.
    pub cpu_model: Option<CpuModel>,
    /// What a reset does.
    pub on_reset: OnReset,
    /// What a panic of the guest's kernel leads to.
    pub on_panic: OnPanic,
    /// First of the ports on which test guests end the process with a status of their own.
    pub debug_exit: Option<u16>,
    /// Whether the machine is there for one command, whose exit status becomes the process's.
    pub exit_status: bool,
}

/// What happens when the guest's kernel tells of its panic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnPanic {
    /// It is told, and the guest goes on as its own settings (`panic=`) have it.
    #[default]
    Guest,
    /// The machine starts again.
    Restart,
    /// The process ends, with a status of its own.
    Exit,
    /// The guest stands still until somebody resumes or ends it.
    Pause,
}

impl FromStr for OnPanic {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        const NAMES: [&str; 4] = ["guest", "restart", "exit", "pause"];
        match text {
            "guest" => Ok(OnPanic::Guest),
            "restart" => Ok(OnPanic::Restart),
            "exit" => Ok(OnPanic::Exit),
            "pause" => Ok(OnPanic::Pause),
            _ => {
                let hint = messages::did_you_mean(text, NAMES);
                Err(BadValue(format!(
                    "'{text}' is not a reaction to a panic (there are guest, restart, exit, pause){hint}"
                )))
            }
        }
    }
}

/// What happens when the guest resets its machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnReset {
    /// The machine starts again, as a computer does.
    #[default]
    Restart,
    /// The process ends.
    Exit,
}

impl FromStr for OnReset {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        match text {
            "restart" => Ok(OnReset::Restart),
            "exit" => Ok(OnReset::Exit),
            _ => {
                let hint = messages::did_you_mean(text, ["restart", "exit"]);
                Err(BadValue(format!(
                    "'{text}' is not a reaction to a reset (there are restart, exit){hint}"
                )))
            }
        }
    }
}

impl VmSpec {
    /// Checks what concerns several fields at once.
    pub fn validate(self) -> Result<VmSpec, BadValue> {
        for (kind, count) in [("disks", self.disks.len()), ("network cards", self.nets.len())] {
            if count > MAX_DEVICES_OF_A_KIND {
                return Err(BadValue(format!("{count} {kind}: a VM takes at most {MAX_DEVICES_OF_A_KIND}")));
            }
        }
        for (index, disk) in self.disks.iter().enumerate() {
            let twice = self.disks[..index].iter().any(|other| other.path == disk.path);
            if twice && !(disk.readonly) {
                return Err(BadValue(format!(
                    "disk {} is given twice: one of them would corrupt it",
                    disk.path.display()
                )));
            }
        }
        for (index, net) in self.nets.iter().enumerate() {
            if self.nets[..index].iter().any(|other| other.tap == net.tap) {
                return Err(BadValue(format!("tap {} is given twice", net.tap)));
            }
            if net.mac.is_some() && self.nets[..index].iter().any(|other| other.mac == net.mac) {
                return Err(BadValue(format!("tap {}: two network cards with one MAC address", net.tap)));
            }
        }
        if self.virtio_console.as_ref().is_some_and(|console| *console == self.console) {
            return Err(BadValue(
                "console and virtio-console lead to the same place; give one of them another".to_owned(),
            ));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> VmSpec {
        VmSpec {
            name: "web1".parse().unwrap(),
            kernel: "/boot/vmlinuz".into(),
            boot_protocol: BootProtocol::Auto,
            initrds: vec![],
            modules: vec![],
            cmdline: None,
            cpus: "1".parse().unwrap(),
            memory: "512M".parse().unwrap(),
            merge: false,
            disks: vec![],
            nets: vec![],
            console: ConsoleSpec::Stdio,
            virtio_console: None,
            cpu_model: None,
            on_reset: OnReset::Restart,
            on_panic: OnPanic::Guest,
            debug_exit: None,
            exit_status: false,
        }
    }

    #[test]
    fn a_disk_or_tap_given_twice_is_refused() {
        let disks =
            |texts: &[&str]| VmSpec { disks: texts.iter().map(|t| t.parse().unwrap()).collect(), ..spec() };
        assert!(disks(&["path=a", "path=b"]).validate().is_ok());
        assert!(disks(&["path=a,readonly", "path=a,readonly"]).validate().is_ok());
        assert!(disks(&["path=a", "path=a"]).validate().unwrap_err().0.contains("twice"));
        let nets =
            |texts: &[&str]| VmSpec { nets: texts.iter().map(|t| t.parse().unwrap()).collect(), ..spec() };
        assert!(nets(&["tap=a", "tap=a"]).validate().is_err());
        assert!(nets(&["tap=a,mac=02:00:00:00:00:01", "tap=b,mac=02:00:00:00:00:01"]).validate().is_err());
        assert!(disks(&["path=a"; 13]).validate().unwrap_err().0.contains("at most 12"));
    }

    #[test]
    fn reactions_to_a_panic() {
        for (text, expected) in [
            ("guest", OnPanic::Guest),
            ("restart", OnPanic::Restart),
            ("exit", OnPanic::Exit),
            ("pause", OnPanic::Pause),
        ] {
            assert_eq!(text.parse(), Ok(expected));
        }
        let error = "pasue".parse::<OnPanic>().unwrap_err().0;
        assert!(error.contains("guest, restart, exit, pause") && error.contains("mean 'pause'"), "{error}");
    }
}
