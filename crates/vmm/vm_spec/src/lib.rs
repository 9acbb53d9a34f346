//! What a VM is to consist of: as a person wants it ([`VmSpec`]), and as it is built ([`blueprint`]).
//!
//! A spec is validated once: after it exists, nothing of it is checked again. Text as typed by a person (command line,
//! configuration file) becomes these types by [`FromStr`]; each error is one line that names what was typed and what
//! would be right. Nothing here touches the host: that a file exists or an interface is free is found out when it is
//! opened.

pub mod blueprint;
mod boot;
mod chip;
mod console;
mod device_id;
mod disk;
mod file_mode;
mod machine_record;
mod name;
mod named;
mod net;
mod options;
mod size;

pub use blueprint::{Blueprint, HostFacts, resolve};
pub use boot::{BootProtocol, BootSpec, KernelSpec, ModuleSpec};
pub use chip::Chip;
pub use console::ConsoleSpec;
pub use device_id::{DeviceId, PCI_BUS_ID};
pub use disk::{BlockSize, DiskSerial, DiskSpec, OnError};
pub use file_mode::FileMode;
pub use machine_record::{MachineRecord, RecordError};
pub use name::VmName;
pub use net::NetSpec;
pub use options::{names_with_commas, with_doubled_commas};
pub use size::{CpuCount, DiskSize, MemorySize, cluster_bytes};

pub use device_model::MacAddress;
pub use image_model::DiskFormat;

use std::collections::BTreeSet;
use std::str::FromStr;

use device_model::BadMac;
use image_model::NameError;
use serde::{Deserialize, Serialize};

pub use arch_model::x86_64::CpuModel;

/// A value that a person typed and that cannot be used: what, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadValue(pub String);

impl From<BadMac> for BadValue {
    fn from(error: BadMac) -> BadValue {
        BadValue(error.0)
    }
}

impl From<NameError> for BadValue {
    fn from(error: NameError) -> BadValue {
        BadValue(error.0)
    }
}

/// Most disks or network cards of one VM: with the host bridge, consoles and entropy they fit on one bus.
pub const MAX_DEVICES_OF_A_KIND: usize = 12;

/// One virtual machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmSpec {
    /// Shown by `ps` and used in messages.
    pub name: VmName,
    /// What it starts with.
    pub boot: BootSpec,
    /// vCPUs.
    pub cpus: CpuCount,
    /// RAM.
    pub memory: MemorySize,
    /// Whether ksmd may merge this VM's pages with equal ones.
    pub merge: bool,
    /// Disks, in the order in which the guest of a new machine sees them.
    pub disks: Vec<DiskSpec>,
    /// Network cards, in the order in which the guest of a new machine sees them.
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
    /// A VM of this name that starts so, with nothing but what each has: one vCPU, 512 MiB, the console on stdio.
    pub fn new(name: VmName, boot: BootSpec) -> VmSpec {
        VmSpec {
            name,
            boot,
            cpus: CpuCount::default(),
            memory: MemorySize::default(),
            merge: false,
            disks: Vec::new(),
            nets: Vec::new(),
            console: ConsoleSpec::Stdio,
            virtio_console: None,
            cpu_model: None,
            on_reset: OnReset::default(),
            on_panic: OnPanic::default(),
            debug_exit: None,
            exit_status: false,
        }
    }

    /// The names of its disks, in their order. One that was given none is `disk-root` if it comes first, else `disk1` and
    /// so on, by its place in the list.
    pub fn disk_ids(&self) -> Vec<DeviceId> {
        let mut taken: BTreeSet<DeviceId> = self.given_ids().cloned().collect();
        let derived = |(index, disk): (usize, &DiskSpec)| {
            let root = (index == 0).then(DeviceId::root_disk);
            let numbered = (index.max(1)..).map(|number| DeviceId::numbered("disk", number));
            named(disk.id.as_ref(), root.into_iter().chain(numbered), &mut taken)
        };
        self.disks.iter().enumerate().map(derived).collect()
    }

    /// The names of its network cards, in their order. One that was given none is `nic0` and so on, by its place in the
    /// list.
    pub fn nic_ids(&self) -> Vec<DeviceId> {
        let mut taken: BTreeSet<DeviceId> = self.given_ids().cloned().collect();
        let derived = |(index, net): (usize, &NetSpec)| {
            let numbered = (index..).map(|number| DeviceId::numbered("nic", number));
            named(net.id.as_ref(), numbered, &mut taken)
        };
        self.nets.iter().enumerate().map(derived).collect()
    }

    fn given_ids(&self) -> impl Iterator<Item = &DeviceId> {
        let disks = self.disks.iter().filter_map(|disk| disk.id.as_ref());
        disks.chain(self.nets.iter().filter_map(|net| net.id.as_ref()))
    }

    fn validate_ids(&self) -> Result<(), BadValue> {
        let mut ids = BTreeSet::new();
        for id in self.given_ids() {
            if id.is_reserved() {
                return Err(BadValue(format!("id={id}: a part of every machine is called so; take another")));
            }
            if !ids.insert(id) {
                return Err(BadValue(format!("id={id} is given to two devices; give one of them another")));
            }
        }
        Ok(())
    }

    /// Checks what concerns several fields at once.
    pub fn validate(self) -> Result<VmSpec, BadValue> {
        for (kind, count) in [("disks", self.disks.len()), ("network cards", self.nets.len())] {
            if count > MAX_DEVICES_OF_A_KIND {
                return Err(BadValue(format!("{count} {kind}: a VM takes at most {MAX_DEVICES_OF_A_KIND}")));
            }
        }
        self.validate_ids()?;
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
            let before = &self.nets[..index];
            if let Some(tap) = &net.tap
                && before.iter().any(|other| other.tap == net.tap)
            {
                return Err(BadValue(format!("tap {tap} is given twice")));
            }
            if let Some(mac) = net.mac
                && before.iter().any(|other| other.mac == net.mac)
            {
                let card = net.interface();
                return Err(BadValue(format!("card on {card}: another one has the MAC address {mac}")));
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

/// The name that was given, or the first of `derived` that nobody has.
fn named(
    given: Option<&DeviceId>,
    mut derived: impl Iterator<Item = DeviceId>,
    taken: &mut BTreeSet<DeviceId>,
) -> DeviceId {
    if let Some(given) = given {
        return given.clone();
    }
    // More names can be derived than there are devices.
    let id = derived.find(|id| !taken.contains(id)).unwrap_or_else(DeviceId::root_disk);
    taken.insert(id.clone());
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> VmSpec {
        VmSpec::new("web1".parse().unwrap(), BootSpec::Kernel(KernelSpec::new("/boot/vmlinuz")))
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
    fn devices_have_names_of_their_own() {
        let with = |disks: &[&str], nets: &[&str]| VmSpec {
            disks: disks.iter().map(|text| text.parse().unwrap()).collect(),
            nets: nets.iter().map(|text| text.parse().unwrap()).collect(),
            ..spec()
        };
        let ids = |spec: &VmSpec| {
            let all = spec.disk_ids().into_iter().chain(spec.nic_ids());
            all.map(String::from).collect::<Vec<_>>().join(" ")
        };
        for (disks, nets, expected) in [
            (&["path=a", "path=b", "path=c"][..], &["tap=a", "tap=b"][..], "disk-root disk1 disk2 nic0 nic1"),
            (&["path=a,id=disk1", "path=b"], &["tap=a,id=wan", "tap=b"], "disk1 disk2 wan nic1"),
            (&["path=a", "path=b,id=disk-root"], &["tap=a", "tap=b,id=nic0"], "disk1 disk-root nic1 nic0"),
            (&["path=a,id=nic0"], &["tap=a", "tap=b"], "nic0 nic1 nic2"),
        ] {
            let spec = with(disks, nets).validate().unwrap();
            assert_eq!(ids(&spec), expected);
            // Once they are named, they stay so.
            let mut named = spec.named();
            assert_eq!(ids(&named), expected);
            let gone = named.disks.remove(0).id.unwrap();
            assert_eq!(ids(&named), expected.replace(&format!("{gone} "), ""));
        }
        for (disks, nets, why) in [
            (&["path=a,id=x", "path=b,id=x"][..], &[][..], "id=x is given to two devices"),
            (&["path=a,id=x"], &["tap=a,id=x"], "id=x is given to two devices"),
            (&["path=a,id=rtc"], &[], "id=rtc: a part of every machine"),
            (&[], &["tap=a,id=console0"], "id=console0: a part of every machine"),
        ] {
            assert!(with(disks, nets).validate().unwrap_err().0.starts_with(why), "{why}");
        }
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
