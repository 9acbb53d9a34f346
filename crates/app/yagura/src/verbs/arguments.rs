//! What can be typed after `yagura pause` and the other verbs for running VMs.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use vm_spec::{DiskSize, VmName};

use crate::cli::Format;

/// `yagura pause`, `resume`, `reset`
#[derive(Args, Debug)]
#[command(after_help = EXIT_STATUS)]
pub struct NamesArguments {
    /// The VMs' names
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<VmName>,
}

/// `yagura stop`
#[derive(Args, Debug)]
#[command(after_help = STOP_NOTES)]
pub struct StopArguments {
    /// The VMs' names
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<VmName>,
    /// End them at once, as if the power went: what the guests have not written is lost
    #[arg(long)]
    pub force: bool,
    /// How long to wait for the guests
    #[arg(long, value_name = "SECS", default_value = "60", value_parser = seconds, conflicts_with = "force")]
    pub timeout: Duration,
}

/// `yagura resize`
#[derive(Args, Debug)]
#[command(after_help = RESIZE_NOTES)]
pub struct ResizeArguments {
    /// The VM's name
    pub name: VmName,
    /// The disk, as 'yagura info' has it, such as disk-root
    pub disk: String,
    /// Its new length, such as 20G, or by how much it is to be longer, such as +5G
    pub size: SizeChange,
}

/// How long a disk is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizeChange {
    /// So long.
    To(DiskSize),
    /// So much longer than it is.
    By(DiskSize),
}

impl FromStr for SizeChange {
    type Err = vm_spec::BadValue;

    fn from_str(text: &str) -> Result<SizeChange, vm_spec::BadValue> {
        match text.strip_prefix('+') {
            Some(more) => Ok(SizeChange::By(more.parse()?)),
            None => Ok(SizeChange::To(text.parse()?)),
        }
    }
}

/// `yagura info`
#[derive(Args, Debug)]
#[command(after_help = EXIT_STATUS)]
pub struct InfoArguments {
    /// The VM's name
    pub name: VmName,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
}

/// A time limit in whole seconds.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let refused = |_| format!("'{text}' is not a number of seconds");
    // Whole lives; the clock cannot count as far as a `u64` can.
    text.parse().map(|seconds: u32| Duration::from_secs(seconds.into())).map_err(refused)
}

const EXIT_STATUS: &str = "\
Exit status:
  0  done
  1  the VM, or the host, refuses
  2  the command line cannot be understood
  3  no VM of that name runs
  4  not now: the VM does not answer, or ends
Of several VMs, it is that of the first that failed.";

const RESIZE_NOTES: &str = "\
The disk's file, and the disk that the guest sees, become longer at once; nothing on the disk changes. The guest makes use of
it by its own means, such as growpart and resize2fs. A disk does not become shorter. While no VM uses an image,
'yagura disk resize' does the same to it.

Examples:
  yagura resize web1 disk-root 20G
  yagura resize web1 disk1 +5G

Exit status:
  0  done
  1  the VM, or the host, refuses
  2  the command line cannot be understood
  3  no VM of that name runs
  4  not now: the VM does not answer, or ends, or somebody else has just resized the disk";

const STOP_NOTES: &str = "\
The power button is pressed, and what the guest does then is up to it: Linux shuts down where acpid or systemd-logind runs.
A paused VM is resumed before.

Exit status:
  0  done: the VMs have ended
  1  the VM, or the host, refuses
  2  the command line cannot be understood
  3  no VM of that name runs
  4  the guest did not shut down in time, or the VM does not answer
Of several VMs, it is that of the first that failed.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_lengths_or_what_is_added() {
        let bytes = |text: &str| match text.parse::<SizeChange>().unwrap() {
            SizeChange::To(size) => ("to", size.bytes()),
            SizeChange::By(size) => ("by", size.bytes()),
        };
        assert_eq!((bytes("20G"), bytes("+1G")), (("to", 20 << 30), ("by", 1 << 30)));
        for (text, why) in [
            ("", "not the size"),
            ("+", "not the size"),
            ("++1G", "not the size"),
            ("-1G", "not the size"),
            ("20", "did you mean 20G?"),
            ("+20", "did you mean 20G?"),
            ("+0G", "at least one"),
            ("1000B", "512 bytes"),
        ] {
            assert!(text.parse::<SizeChange>().unwrap_err().0.contains(why), "{text}");
        }
    }
}
