//! What can be typed after `yagura attach` and `yagura detach`.

use std::time::Duration;

use clap::Args;
use vm_spec::{DiskSpec, NetSpec, VmName};

use super::arguments::seconds;
use crate::settings::disk_argument;

/// `yagura attach`
#[derive(Args, Debug)]
#[command(after_help = ATTACH_NOTES)]
pub struct AttachArguments {
    /// The VM's name
    pub name: VmName,
    /// What is put in.
    #[command(flatten)]
    pub device: DeviceArgument,
}

/// A disk or a card.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub struct DeviceArgument {
    /// A disk, as 'yagura run' takes it
    #[arg(
        long,
        value_name = "path=P[,id=NAME][,format=raw|qcow2][,force-raw][,block-size=512|4096][,readonly][,serial=S][,on-error=report|pause]",
        value_parser = disk_argument()
    )]
    pub disk: Option<DiskSpec>,
    /// A network card, as 'yagura run' takes it
    #[arg(long, value_name = "tap=T|unplugged[,id=NAME][,mac=M][,queues=N]")]
    pub net: Option<NetSpec>,
}

/// `yagura detach`
#[derive(Args, Debug)]
#[command(after_help = DETACH_NOTES)]
pub struct DetachArguments {
    /// The VM's name
    pub name: VmName,
    /// The disk or card, as 'yagura info' has it, such as disk1 or nic0
    pub device: String,
    /// How long the guest has to let go of it
    #[arg(long, value_name = "SECS", default_value = "30", value_parser = seconds, conflicts_with = "force")]
    pub timeout: Duration,
    /// Take it out at once, as if a person pulled it: what the guest has not written is lost, and what uses it there gets
    /// errors
    #[arg(long)]
    pub force: bool,
}

const ATTACH_NOTES: &str = "\
The device's name is printed: that which was given by id=, or the next one such as disk1. Guests that know PCI hot-plug by ACPI
find it at once, as Linux does. The VM keeps it over resets, until it is detached or the VM ends.

Examples:
  yagura attach web1 --disk path=data.img
  yagura attach web1 --disk path=backup.qcow2,format=qcow2,readonly,id=backup
  yagura attach web1 --net tap=tap1

Exit status:
  0  done
  1  the VM, or the host, refuses
  2  the command line cannot be understood
  3  no VM of that name runs
  4  not now: somebody else uses the disk, the VM is paused, or it does not answer";

const DETACH_NOTES: &str = "\
The guest is asked to let go of the device; when it has, the device is taken out, and its file or interface is free. Linux
does not refuse: unmount a disk before, and take a card down. A guest that does not answer in time keeps the device.

--force does not ask. The guest loses the device as if it had been pulled out of a running computer: writes that it holds back
are lost, file systems on it fail, and a guest whose root is there crashes. The rest of the machine goes on, but
Linux may find no device that is attached later until it is reset.

A reset completes a removal that is waited for: the machine starts without the device.

Examples:
  yagura detach web1 disk1
  yagura detach web1 nic1 --timeout 5

Exit status:
  0  done: the device is gone
  1  the VM, or the host, refuses
  2  the command line cannot be understood
  3  no VM of that name runs
  4  the guest did not let go of it in time, the VM is paused, or it does not answer";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::Cli;

    fn refused(line: &str) -> bool {
        Cli::try_parse_from(line.split(' ')).is_err()
    }

    #[test]
    fn one_device_is_attached_at_a_time() {
        assert!(!refused("yagura attach web1 --disk path=a,readonly"));
        assert!(!refused("yagura attach web1 --net tap=tap0"));
        for line in [
            "yagura attach web1",
            "yagura attach --disk path=a",
            "yagura attach web1 --disk path=a --net tap=tap0",
            "yagura attach web1 --disk path=a --disk path=b",
            "yagura attach web1 --net none",
            "yagura attach web1 --disk a",
        ] {
            assert!(refused(line), "{line}");
        }
    }

    #[test]
    fn force_does_not_wait() {
        assert!(!refused("yagura detach web1 disk1"));
        assert!(!refused("yagura detach web1 disk1 --force"));
        assert!(!refused("yagura detach web1 disk1 --timeout 0"));
        for line in [
            "yagura detach web1",
            "yagura detach web1 disk1 disk2",
            "yagura detach web1 disk1 --timeout 5 --force",
            "yagura detach web1 disk1 --timeout 1.5",
            "yagura detach web1 disk1 --timeout 99999999999",
        ] {
            assert!(refused(line), "{line}");
        }
    }
}
