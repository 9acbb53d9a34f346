//! What can be typed after `yagura snapshot`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use snapshot_files::{SnapshotId, SnapshotName, check_description};
use vm_spec::{FileMode, VmName};
use yagura_vmm::EngineChoice;

use crate::cli::{Format, ListFormat};

/// `yagura snapshot`
#[derive(Subcommand, Debug)]
pub enum SnapshotCommand {
    /// Keep a running VM as it is now, with its memory and its disks, while it runs on
    Create(CreateArguments),
    /// Show a VM's snapshots, or those of all VMs
    List(SnapshotListArguments),
    /// Show what a snapshot is
    Info(SnapshotInfoArguments),
    /// Remove snapshots
    Delete(SnapshotDeleteArguments),
    /// Have a running VM go back to a snapshot: its memory, its processes, and all that is on its disks
    Restore(RestoreArguments),
    /// Have snapshots that build upon others keep all of their memory, so that those may be deleted
    Flatten(SnapshotFlattenArguments),
    /// Write a snapshot to a file that says all of itself, for another host or for later
    Export(SnapshotExportArguments),
    /// Take a snapshot out of such a file
    Import(SnapshotImportArguments),
}

/// `yagura snapshot create`
#[derive(Args, Debug)]
#[command(after_help = CREATE_NOTES)]
pub struct CreateArguments {
    /// The VM's name
    pub name: VmName,
    /// What the snapshot is to be called
    #[arg(value_name = "SNAP")]
    pub snapshot: SnapshotName,
    /// What it is for
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true, value_parser = description)]
    pub description: String,
    /// How long it is kept at least, such as 12h, 7d or 4w: the next 'snapshot create' of the VM after that removes it
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    pub expires: Option<u64>,
    /// Keep of its memory only what differs from this snapshot of the VM, which then has to stay
    #[arg(long, value_name = "OTHER")]
    pub base: Option<SnapshotName>,
    /// Compress its memory (zstd): smaller, and slower to restore
    #[arg(long)]
    pub compress: bool,
    /// Show it as JSON when it is made
    #[arg(long)]
    pub json: bool,
}

/// `yagura snapshot list`
#[derive(Args, Debug)]
pub struct SnapshotListArguments {
    /// The VM's name
    pub name: Option<VmName>,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = ListFormat::Table)]
    pub format: ListFormat,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
}

/// `yagura snapshot info`
#[derive(Args, Debug)]
#[command(after_help = EXIT_STATUS)]
pub struct SnapshotInfoArguments {
    /// The snapshot
    #[arg(value_name = "NAME/SNAP")]
    pub id: SnapshotId,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
}

/// `yagura snapshot delete`
#[derive(Args, Debug)]
#[command(after_help = EXIT_STATUS)]
pub struct SnapshotDeleteArguments {
    /// The snapshots
    #[arg(required = true, value_name = "NAME/SNAP")]
    pub ids: Vec<SnapshotId>,
}

/// `yagura snapshot flatten`
#[derive(Args, Debug)]
#[command(after_help = EXIT_STATUS)]
pub struct SnapshotFlattenArguments {
    /// The snapshots
    #[arg(required = true, value_name = "NAME/SNAP")]
    pub ids: Vec<SnapshotId>,
}

/// `yagura snapshot restore`
#[derive(Args, Debug)]
#[command(after_help = RESTORE_NOTES)]
pub struct RestoreArguments {
    /// The VM's name
    pub name: VmName,
    /// The snapshot's
    #[arg(value_name = "SNAP")]
    pub snapshot: SnapshotName,
}

/// `yagura clone`
#[derive(Args, Debug)]
#[command(after_help = CLONE_NOTES)]
pub struct CloneArguments {
    /// The snapshot
    #[arg(value_name = "NAME/SNAP")]
    pub id: SnapshotId,
    /// What the clones are to be called
    #[arg(required = true, value_name = "NEW")]
    pub names: Vec<VmName>,
    /// What the network cards of the clones are plugged into, in the order of the snapshot's; {name} is the clone's name
    #[arg(long = "net", value_name = "tap=T[,mac=M][,queues=N]")]
    pub nets: Vec<String>,
    /// Where their serial ports lead: file=P, socket=P or none [default: console.log in the folder of the clone]; {name} is the
    /// clone's name
    #[arg(long, value_name = "CONSOLE")]
    pub console: Option<String>,
    /// What executes the guests: auto, kvm or soft [default: auto]
    #[arg(long)]
    pub engine: Option<EngineChoice>,
    /// Another device to use as /dev/kvm.
    #[arg(long, value_name = "PATH", hide = true, default_value = kvm_engine::DEVICE)]
    pub kvm_device: PathBuf,
}

/// `yagura snapshot export`
#[derive(Args, Debug)]
#[command(after_help = EXPORT_NOTES)]
pub struct SnapshotExportArguments {
    /// The snapshot
    #[arg(value_name = "NAME/SNAP")]
    pub id: SnapshotId,
    /// The file to make; - is the standard output
    #[arg(value_name = "FILE")]
    pub target: PathBuf,
    /// Permissions of the file in octal digits, such as 0640 [default: 0600]
    #[arg(long, value_name = "MODE")]
    pub mode: Option<FileMode>,
}

/// `yagura snapshot import`
#[derive(Args, Debug)]
#[command(after_help = IMPORT_NOTES)]
pub struct SnapshotImportArguments {
    /// The file; - is the standard input
    #[arg(value_name = "FILE")]
    pub source: PathBuf,
    /// What the snapshot is to be called here [default: as it was where it was made]
    #[arg(value_name = "NAME/SNAP")]
    pub id: Option<SnapshotId>,
}

fn description(text: &str) -> Result<String, String> {
    check_description(text).map(|()| text.to_owned())
}

/// Seconds out of `7d`.
fn lifetime(text: &str) -> Result<u64, String> {
    const UNITS: [(char, u64); 5] = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400), ('w', 604_800)];
    let refused = || format!("'{text}' is no time; write a number with s, m, h, d or w, such as 7d");
    let (number, seconds) = UNITS
        .iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(*unit)?, seconds)))
        .ok_or_else(refused)?;
    // Whole lives; more is a mistake.
    let number: u32 = number.parse().map_err(|_| refused())?;
    Ok(u64::from(number) * seconds)
}

const EXIT_STATUS: &str = "\
Exit status:
  0  done
  1  the VM, the host, or a damaged file refuses
  2  the command line cannot be understood
  3  no VM of that name runs, or it has no such snapshot
  4  not now: another snapshot of the VM is being made or removed";

const EXPORT_NOTES: &str = "\
The file is a tar archive compressed with zstd: 'tar --zstd -tvf FILE' lists it. A disk that builds upon another one is written
with all of that, so that nothing else is needed; it takes room for a while where the file is made.

Examples:
  yagura snapshot export web1/before-upgrade web1.tar.zst
  yagura snapshot export web1/before-upgrade - | ssh other yagura snapshot import -

Exit status:
  0  done
  1  the host, or a damaged file refuses
  2  the command line cannot be understood
  3  there is no such snapshot";

const IMPORT_NOTES: &str = "\
All of the file is looked at before the snapshot is there, and it is believed to be as hostile as a stranger's. It does not expire
here. 'yagura run --restore NAME/SNAP' makes a VM of it.

Examples:
  yagura snapshot import web1.tar.zst
  yagura snapshot import web1.tar.zst web2/first

Exit status:
  0  done
  1  the host refuses, the file is damaged or is none, or there is a snapshot of this name
  2  the command line cannot be understood
  4  not now: another snapshot of the VM is being made or removed";

const CREATE_NOTES: &str = "\
The guest stands still for a moment, and notices nothing but that. Its disks are kept as they are then, as after a power cut:
what the guest has not written yet is in its memory. Where the file system of the disks can share blocks (XFS, Btrfs), that
takes no time and no room; elsewhere they are copied while the guest runs, and it stands still for what it wrote last.

Examples:
  yagura snapshot create web1 before-upgrade --description 'Debian 12.5'
  yagura snapshot create web1 nightly --expires 7d --compress
  yagura snapshot create web1 tuesday --base monday

Exit status:
  0  done
  1  the VM, the host, or a damaged file refuses
  2  the command line cannot be understood
  3  no VM of that name runs
  4  not now: another snapshot of the VM is being made or removed, or the VM does not answer";

const CLONE_NOTES: &str = "\
Each clone is a VM of its own, in a process of its own that goes on when this command has ended: it has the snapshot's memory,
processes and disks, and what it writes is its own. The clones share what none of them has written. Their network cards get
addresses of their own: the guest is asked to let go of the card that it had, and finds another one in its place, for which it
has to ask for an IP address as for any new card.

What a clone writes to its serial port is in restored/NEW/console.log below YAGURA_DIR. 'yagura delete NEW' removes a clone with
its disks when it has ended; the snapshot stays as long as there is one.

Examples:
  yagura clone web1/ready web2
  yagura clone web1/ready ci-{1..20} --net tap=tap-{name}

Exit status:
  0  all of them run
  1  the host or a damaged file refuses, or a guest kept its card; the others run
  2  the command line cannot be understood
  3  there is no such snapshot";

const RESTORE_NOTES: &str = "\
What the VM has in its memory and on its disks now is lost: make a snapshot of that first, if it may be needed. All of the
snapshot is looked at before anything is given up. 'yagura run --restore NAME/SNAP --name NEW' leaves the VM as it is.

Exit status:
  0  done
  1  the VM, the host, or a damaged file refuses
  2  the command line cannot be understood
  3  no VM of that name runs, or it has no such snapshot
  4  not now: another snapshot of the VM is being made, or the VM does not answer";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("12h", 43_200), ("7d", 604_800), ("1w", 604_800)] {
            assert_eq!(lifetime(text), Ok(seconds));
        }
        for text in ["", "d", "7", "7 d", "-1d", "1.5h", "99999999999d", "7days"] {
            assert!(lifetime(text).unwrap_err().contains("such as 7d"), "{text}");
        }
    }
}
