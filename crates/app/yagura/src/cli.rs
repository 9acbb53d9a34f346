//! What can be typed after `yagura`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use snapshot_files::SnapshotId;
use vm_spec::VmName;
use yagura_vmm::logging::LevelFilter;

use crate::disk_images::arguments::DiskCommand;
use crate::images::arguments::ImageCommand;
use crate::logging::parse_level;
use crate::settings::GivenSettings;
use crate::verbs::arguments::{InfoArguments, NamesArguments, ResizeArguments, StopArguments};
use crate::verbs::hotplug_arguments::{AttachArguments, DetachArguments};
use crate::verbs::snapshot::arguments::{CloneArguments, SnapshotCommand};

/// Runs unmodified operating systems, each as one ordinary Linux process
#[derive(Parser, Debug)]
#[command(name = "yagura", version, after_help = EXAMPLES, subcommand_required = true)]
pub struct Cli {
    /// Log to stderr from this level on: off, error, warn, info, debug or trace; YAGURA_LOG sets it, too
    #[arg(long, global = true, value_name = "LEVEL", value_parser = parse_level)]
    pub log: Option<LevelFilter>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The things to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a virtual machine in this process
    Run(Box<RunArguments>),
    /// Have running VMs stand still
    Pause(NamesArguments),
    /// Have paused VMs go on
    Resume(NamesArguments),
    /// Switch running VMs off by their power buttons, and wait until they have ended
    Stop(StopArguments),
    /// Reset running VMs at once, as the switch at the case does, whatever --on-reset says
    Reset(NamesArguments),
    /// Make a disk of a running VM longer, for its guest to see at once
    Resize(ResizeArguments),
    /// Put a disk or a network card into a running VM, for its guest to use at once
    Attach(Box<AttachArguments>),
    /// Take a disk or a network card out of a running VM, when its guest has let go of it
    Detach(DetachArguments),
    /// Show how a running VM is, and what it has done
    Info(InfoArguments),
    /// Keep running VMs as they are at one moment, and go back to that
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Make VMs of a snapshot, which go on from where it was taken, each as a VM of its own
    Clone(CloneArguments),
    /// Show the VMs that run, and those that were made of images
    List(InstanceListArguments),
    /// Remove VMs that were made of images, with their disks
    Delete(InstanceDeleteArguments),
    /// Bring, build, import, list and remove images of operating systems
    #[command(subcommand)]
    Image(ImageCommand),
    /// Make, enlarge, convert, check and describe disk images
    #[command(subcommand)]
    Disk(DiskCommand),
    /// Show what this host offers for virtual machines, what is missing, and what to do about it
    Doctor(DoctorArguments),
}

/// `yagura run`
#[derive(Args, Debug)]
#[command(after_help = RUN_NOTES, group = ArgGroup::new("origin").args(["image", "restore"]).multiple(true))]
pub struct RunArguments {
    /// What describes the VM.
    #[command(flatten)]
    pub settings: GivenSettings,
    /// Take settings from this file; what is given as a flag replaces the file's
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,
    /// Go on from a snapshot, as a VM of its own: it has the snapshot's devices, and what it writes to its disks is its own
    ///
    /// Its kernel, vCPUs, memory and disks are the snapshot's. --net gives its network cards other interfaces, in their
    /// order. Its disks are kept for it until 'yagura delete'.
    #[arg(long, value_name = "NAME/SNAP", conflicts_with_all = ["config", "image", "kernel"])]
    pub restore: Option<SnapshotId>,
    /// Remove the disk of the VM when it has ended
    #[arg(long, requires = "origin")]
    pub rm: bool,
    /// Another device to use as /dev/kvm.
    #[arg(long, value_name = "PATH", hide = true, default_value = kvm_engine::DEVICE)]
    pub kvm_device: PathBuf,
}

/// `yagura list`
#[derive(Args, Debug)]
pub struct InstanceListArguments {
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = ListFormat::Table)]
    pub format: ListFormat,
}

/// `yagura delete`
#[derive(Args, Debug)]
pub struct InstanceDeleteArguments {
    /// The VMs' names
    #[arg(required = true)]
    pub names: Vec<VmName>,
}

/// `yagura doctor`
#[derive(Args, Debug)]
#[command(after_help = DOCTOR_NOTES)]
pub struct DoctorArguments {
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Another device to look at as /dev/kvm.
    #[arg(long, value_name = "PATH", hide = true, default_value = kvm_engine::DEVICE)]
    pub kvm_device: PathBuf,
}

/// How `doctor` shows its findings.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For a person.
    Table,
    /// For a program.
    Json,
}

/// How listings show what they list.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListFormat {
    /// For a person.
    Table,
    /// For a program.
    Json,
    /// For a program that a person reads.
    Yaml,
    /// For a spreadsheet.
    Csv,
}

const EXAMPLES: &str = "\
Examples:
  yagura doctor
  yagura run --image debian/12 --name web1
  yagura run --kernel vmlinuz --initrd initrd.img --disk path=root.img
  yagura run --config web1.toml --memory 2G
  yagura pause web1; yagura resume web1; yagura stop web1
  yagura snapshot create web1 before-upgrade; yagura snapshot restore web1 before-upgrade
  yagura disk create root.qcow2 --size 10G

See 'yagura run --help' for all settings of a VM.";

const RUN_NOTES: &str = "\
Examples:
  yagura run --image debian/12 --name web1 --disk-size 10G --net tap=tap0
  yagura run --kernel vmlinuz --initrd initrd.img --disk path=root.img
  yagura run --name web1 --kernel vmlinuz --initrd initrd.img --cpus 4 --memory 2G \\
      --disk path=root.qcow2,format=qcow2 --disk path=data.img,readonly,serial=DATA --net tap=tap0
  yagura run --config web1.toml --console file=web1.log
  yagura run --restore web1/before-upgrade --name web2
  yagura run --kernel xen.gz --cmdline 'xen com1=115200 console=com1' \\
      --module 'vmlinuz=vmlinuz console=hvc0' --module initrd.img

A configuration file has the flags' names as keys; relative paths in it start at the file:
  kernel = \"vmlinuz\"
  cpus = 2
  memory = \"1G\"
  [[disk]]
  path = \"root.img\"
  [[net]]
  tap = \"tap0\"

A comma within the value of an option is doubled: --disk path=a,,b.img,readonly is the file 'a,b.img'.

Without --cmdline a unified kernel image has its own command line, and any other kernel is given
'console=ttyS0 panic=-1', and 'root=/dev/vda rw' if there is a disk ('ro' if that is readonly).
Multiboot kernels are given command lines as they are typed; some (Xen) take the first word for their file's name.

Keys: on a terminal, Ctrl-] and then q ends the VM at once, and Ctrl-] twice sends one Ctrl-]; all other keys are the
guest's. The terminal is put back when the VM ends, however that comes about; after 'kill -9', 'reset' does it.

Signals: SIGTERM presses the power button, a second one ends the VM at once. SIGTSTP stops the process and gives the
terminal back until SIGCONT.

Exit status:
  0   the guest powered off
  1   something is wrong with the host, a file, or a setting in the configuration file; the host has no threads or
      descriptors left for a device
  2   the command line cannot be understood
  4   the guest reset its machine (--on-reset exit)
  6   the guest kept resetting right after its start
  8   the guest crashed its CPU, or the engine could not go on
  10  ended from outside
  12  the guest's kernel panicked (--on-panic exit)
  an odd number (V << 1) | 1: the guest wrote V to the --debug-exit port
A VM made of a container's image ends with the exit status of the image's command: 128 + N for a signal, 125 to 127
where it could not be started.";

const DOCTOR_NOTES: &str = "\
Exit status:
  0  unmodified operating systems run here: KVM can be used, and hardware stands behind it
  1  they do not; the table says why";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
